"""What is true of Triton anywhere: inventory, plans, the fleet, one server's protocol."""

__version__ = "0.1.0"
