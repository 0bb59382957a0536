"""Pictures of the running dashboard, made from its real output in a pseudo-terminal."""
