"""Ray Serve's controller on a clock that nobody sets.

It dates its looks at replicas and proxies by the wall clock (Ray 2.60), and where that is set back it looks at none,
and replaces none that died, until it is as late again. What replicas report is dated by the wall clock and stays
compared with it.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

log = structlog.get_logger()


class SteadyTime:
    """The module `time`, but that `time()` goes on from now as the monotonic clock does."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def time(self) -> float:
        return self._ahead_s + time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def keep_time() -> None:
    """What `RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH` names in the environment of Ray."""
    try:
        from ray._common.utils import Timer
        from ray.serve._private import deployment_state
    except ImportError as error:  # of another version of Ray
        log.warning("Ray Serve's controller keeps the wall clock", reason=str(error))
        return
    steady = SteadyTime()
    deployment_state.time = steady
    Timer.time = lambda _self: steady.time()
