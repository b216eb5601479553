"""What is left until a moment of the wall clock, counted by one that nobody sets: a step of the first changes nothing.

Knows nothing of rollouts: what it counts for has a number.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Countdown:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._number: int | None = None
        self.began = self._ends = clock()

    def begin(self, number: int, left_s: float) -> None:
        """Unless it counts for this one already."""
        if number != self._number:
            self._number, self.began = number, self._clock()
            self._ends = self.began + left_s

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._ends


def left_s(moment: float, now: float, longest_s: float) -> float:
    """Seconds from now until then: never more than whoever chose the moment can have meant, whatever the clock says."""
    return min(max(moment - now, 0.0), longest_s)
