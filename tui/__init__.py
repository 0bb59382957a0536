"""What a person touches: the dashboard and the commands."""
