"""How long measuring may still take. An evaluation that hangs or crawls must end as a refusal, not as silence."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import EvaluationFailed


class Deadline:
    def __init__(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """`is_over`: whether nobody waits for the result any more, however much time is left."""
        self._seconds, self._is_over = seconds, is_over
        self._ends = time.monotonic() + seconds

    @property
    def remaining_s(self) -> float:
        return max(self._ends - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raises `EvaluationFailed` once the time is over."""
        if self._is_over():
            raise EvaluationFailed("the run was ended meanwhile")
        if not self.remaining_s:
            raise EvaluationFailed(
                f"the evaluation was not done within {self._seconds:g} s; raise gate.max_seconds, "
                "or lower max_general or gate.max_new_tokens"
            )
