"""More corrections at once than a person can make by looking at images."""

from __future__ import annotations

from collections.abc import Sequence

from .config import ScreeningConfig


def is_burst(earlier: Sequence[float], now: float, config: ScreeningConfig) -> bool:
    """Whether one more is too many. `earlier`: when the source's other corrections came; all in seconds."""
    num_recent = sum(now - config.burst_s < moment <= now for moment in earlier)
    return num_recent >= config.burst_size
