"""Azure ML workspaces over the emulator of Azure, with a real tritonserver behind its scoring front."""
