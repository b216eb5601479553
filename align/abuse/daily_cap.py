"""So many corrections a day from one source, however evenly they come."""

from __future__ import annotations

from collections.abc import Sequence

from .config import ScreeningConfig

DAY_S = 86_400.0


def is_over_daily_cap(earlier: Sequence[float], now: float, config: ScreeningConfig) -> bool:
    """Whether one more is too many. `earlier`: when the source's other corrections came; all in seconds.

    Of any 24 hours, not of a calendar day: nobody gets two days' worth at midnight.
    """
    num_today = sum(now - DAY_S < moment <= now for moment in earlier)
    return num_today >= config.daily_cap
