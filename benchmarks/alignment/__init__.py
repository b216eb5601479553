"""How much less a model hallucinates after so many corrections, by objective: `python -m benchmarks.alignment`."""
