"""The tabs of a service's and a model's screen, one module per tab."""
