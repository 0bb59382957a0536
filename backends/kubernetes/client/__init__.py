"""What speaks to an API server and to what stands behind it, and knows nothing of Triton."""
