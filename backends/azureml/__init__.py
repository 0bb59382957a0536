"""Azure ML workspaces: their online endpoints and deployments, found, watched and operated."""
