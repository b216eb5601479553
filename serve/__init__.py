"""Answers requests with the adapters that are live. The only package that imports ray.serve."""
