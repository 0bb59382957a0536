"""AKS clusters over the emulated Resource Manager, with a real Kubernetes behind it where there is one to have."""
