"""Turns prompts into tokens, many sequences and several adapter versions at once.

Nothing outside this package knows torch. Knows nothing of HTTP, of the store or of Ray.
"""
