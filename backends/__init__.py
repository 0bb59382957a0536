"""The places where Triton runs, one module per place."""
