"""How long measuring may still take. An evaluation that hangs or crawls must end as a refusal, not as silence."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import EvaluationFailed
from ..pausing import wait_while


class Deadline:
    def __init__(
        self,
        seconds: float,
        is_over: Callable[[], bool] = lambda: False,
        should_pause: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_over`: whether nobody waits for the result any more, however much time is left."""
        self._seconds, self._is_over, self._should_pause = seconds, is_over, should_pause
        self._ends = time.monotonic() + seconds

    def check(self) -> None:
        """Waits while it should pause, which takes none of the time. Raises `EvaluationFailed` once that is over."""
        self._ends += wait_while(self._should_pause, self._is_over)
        if self._is_over():
            raise EvaluationFailed("the run was ended meanwhile")
        if time.monotonic() > self._ends:
            raise EvaluationFailed(
                f"the evaluation was not done within {self._seconds:g} s; raise gate.max_seconds, "
                "or lower max_general or gate.max_new_tokens"
            )
