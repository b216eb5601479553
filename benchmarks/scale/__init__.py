"""What grows with answers, corrections and replicas, and how fast."""
