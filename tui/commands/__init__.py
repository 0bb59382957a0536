"""The dashboard's abilities as text and JSON, one module per group of commands."""
