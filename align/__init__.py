"""What the model learns from, and what it becomes. Knows nothing of HTTP or Ray Serve."""
