"""The dashboard's own widgets: each redraws only the lines that differ."""
