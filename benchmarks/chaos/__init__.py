"""Blows to a server under load, one after another, and what has to hold after each."""
