"""The figures that a decision is told by where there is no room for all."""

HEADLINES = ("held_out.margin", "held_out.recurrence", "truth.wrong")
"""Preference for the corrected words, return of the wrong ones, and mistakes where a picture says what it shows."""
