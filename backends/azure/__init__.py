"""What AKS and Azure ML share: the clouds, the login, Azure Resource Manager and its long-running operations."""
