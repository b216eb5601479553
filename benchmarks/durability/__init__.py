"""What survives a `kill -9`, and how many records a second the store takes."""
