"""How far a planted claim gets into the embedded model, with each defence and without."""
