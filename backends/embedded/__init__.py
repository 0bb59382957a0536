"""The embedded backend: a real tritonserver of our own over the sample models."""
