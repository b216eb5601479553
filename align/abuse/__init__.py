"""Corrections let a stranger write what the model will say: what is held back, and why. Knows no HTTP and no torch.

Each rule is a pure function in a file of its own; `screening` puts their findings in order, and `quarantine` alone
reads and writes the store.
"""
