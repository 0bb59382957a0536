"""Test requests: filling them in, sending and measuring them, keeping them as cases."""
