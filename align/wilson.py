"""How sure a share is that was counted, by Wilson's interval (1927): a pure function of two numbers."""

from __future__ import annotations

import math

Z = 1.96
"""Standard deviations to each side of a normal distribution that hold 95 % of it."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The ends of the 95 % interval; it keeps its width where nothing, or all, succeeded. `trials` is positive."""
    share, scale = successes / trials, 1 + Z * Z / trials
    centre = (share + Z * Z / (2 * trials)) / scale
    half = Z * math.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials)) / scale
    return max(centre - half, 0.0), min(centre + half, 1.0)
