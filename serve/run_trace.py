"""What a trace tells of a run of the aligner: its stages, and what came of it.

No correction's word, and no reason, which may quote one. Imports nothing of OpenTelemetry until there is a trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from align.state import Run

from .metrics import Stopwatch

if TYPE_CHECKING:
    from .traces import Trace


class RunWatch:
    """When each stage of one attempt began, and what kind of exception ended it, if one did."""

    def __init__(self) -> None:
        self._watch = Stopwatch()
        self._begun: list[tuple[str, float]] = []
        self._error: str | None = None

    def begin(self, stage: str) -> None:
        self._begun.append((stage, self._watch.read()))

    @contextmanager
    def watching(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._error = type(error).__name__
            raise

    def trace(self, begun: Run, ended: Run | None) -> Trace:
        """Without an end the attempt broke off, and another one goes on with the run, in a trace of its own."""
        from opentelemetry.trace import SpanKind

        from .traces import Stage, Trace

        total_s = self._watch.read()
        outcome = ended.status if ended is not None and ended.is_ended else "broken off"
        bounds = pairwise([*self._begun, ("", total_s)])
        return Trace(
            "align",
            [Stage(name, begin_s, end_s) for (name, begin_s), (_, end_s) in bounds],
            total_s,
            {
                "errata.run.id": begun.id,
                "errata.run.trigger": begun.trigger,
                "errata.run.attempt": begun.attempts,
                "errata.run.outcome": outcome,
                "errata.adapter.version": None if ended is None else ended.adapter,
            },
            error=(self._error or "failed") if outcome == "failed" else None,
            kind=SpanKind.INTERNAL,
        )
