"""AKS clusters by name: listed and changed through Azure Resource Manager, looked into as any Kubernetes."""
