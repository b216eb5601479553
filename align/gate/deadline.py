"""How long measuring may still take. An evaluation that hangs or crawls must end as a refusal, not as silence."""

from __future__ import annotations

import time

from ..errors import EvaluationFailed


class Deadline:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds

    @property
    def remaining_s(self) -> float:
        return max(self._ends - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raises `EvaluationFailed` once the time is over."""
        if not self.remaining_s:
            raise EvaluationFailed(
                f"the evaluation was not done within {self._seconds:g} s; raise gate.max_seconds, "
                "or lower max_general or gate.max_new_tokens"
            )
