"""What tritonctl costs, measured from outside: python -m benchmarks."""
