"""How long the tokens of running answers lately took to follow each other. Knows nothing of requests."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

MIN_NUM = 20
"""Of fewer gaps a 95th percentile is the largest or nothing."""


class Gaps:
    """Added to by one thread, read by another."""

    def __init__(
        self, window_s: float = 2.0, max_num: int = 1024, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._window_s, self._clock = window_s, clock
        self._gaps: deque[tuple[float, float]] = deque(maxlen=max_num)

    def add(self, seconds: float) -> None:
        self._gaps.append((self._clock(), seconds))

    def p95(self) -> float | None:
        """Of the last `window_s` seconds, in seconds; none where too few tokens came to say."""
        since = self._clock() - self._window_s
        recent = [seconds for at, seconds in tuple(self._gaps) if at >= since]
        return float(np.quantile(recent, 0.95)) if len(recent) >= MIN_NUM else None
