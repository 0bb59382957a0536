"""A Kubernetes cluster as a place where Triton runs."""
