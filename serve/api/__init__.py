"""HTTP in front of a replica: parse, authorise, call, shape. Knows no torch and no Ray."""
