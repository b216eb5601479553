"""How fast answers stream, beside other servers: `python -m benchmarks.serving`."""
