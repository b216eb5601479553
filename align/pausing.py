"""A run that waits. Knows nothing of what it makes way for."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_S = 0.1
"""Between two looks whether a pause is over."""


def wait_while(should_pause: Callable[[], bool], is_over: Callable[[], bool]) -> float:
    """Until there is nothing to wait for, or nobody waits for the run any more. Returns the seconds that took."""
    started = time.monotonic()
    while should_pause() and not is_over():
        time.sleep(PAUSE_S)
    return time.monotonic() - started
