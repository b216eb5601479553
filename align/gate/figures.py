"""The figures in which a candidate is compared with the live adapter: what they count, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..scenes.score import CLAIM_KINDS
from ..spans import KINDS
from .bootstrap import Interval
from .measured import Measured

Form = Literal["difference", "ratio", "level"]
"""Of a change: candidate minus live, candidate over live, or the candidate alone."""
Unit = Literal["nats per token", "points", "per answer"]
Fraction = tuple[float, float]
"""What one item adds to a figure's numerator and denominator; no denominator where it says nothing about it."""


@dataclass(frozen=True)
class Figure:
    """A mean over a set of items, in which the two adapters are compared."""

    name: str
    title: str
    form: Form
    unit: Unit
    of: Callable[[Measured], Fraction]

    def shown(self, change: Interval) -> str:
        """The change with its interval, for people."""
        ends = f"[{self.shown_number(change.low)}, {self.shown_number(change.high)}]"
        return f"{self.shown_number(change.estimate)} {ends}{self._after}"

    def shown_bound(self, bound: float) -> str:
        return self.shown_number(bound) + self._after

    def shown_mean(self, mean: float) -> str:
        """Of one adapter."""
        if self.unit == "points":
            return f"{mean:.1%}"
        return f"{mean:.1f}" if self.unit == "per answer" else f"{mean:.3f}"

    def shown_number(self, value: float) -> str:
        """One end of a change, without its unit."""
        if self.form == "ratio":
            return f"{value:.1%}"
        sign = "+" if self.form == "difference" else ""
        return f"{100 * value:{sign}.1f}" if self.unit == "points" else f"{value:{sign}.3f}"

    @property
    def _after(self) -> str:
        return " of the live adapter's" if self.form == "ratio" else f" {self.unit}"


def _recurrence(kind: str | None = None) -> Callable[[Measured], Fraction]:
    """Of the corrected-away segments, of one kind or of all: how many came back, and how many there are."""

    def of(one: Measured) -> Fraction:
        returned = [is_back for segment_kind, is_back in one.returned if kind in (None, segment_kind)]
        return sum(returned), len(returned)

    return of


def _wrong(kind: str | None = None) -> Callable[[Measured], Fraction]:
    """Whether the answer has a wrong claim, of one kind or of any; where the world can tell."""

    def of(one: Measured) -> Fraction:
        if one.truth is None:
            return 0, 0
        return float(kind in one.truth.wrong if kind else bool(one.truth.wrong)), 1

    return of


def _answers(items: str, told: str) -> tuple[Figure, ...]:
    """What is measured of answers given anew, on either set."""
    return (
        Figure(f"{items}.coverage", told, "ratio", "points", lambda one: (one.coverage, 1)),
        Figure(f"{items}.length", "words", "ratio", "per answer", lambda one: (one.num_words, 1)),
        Figure(
            f"{items}.unreadable",
            "unreadable answers",
            "difference",
            "points",
            lambda one: (not one.is_readable, 1),
        ),
    )


HELD_OUT = (
    Figure("held_out.margin", "score margin", "difference", "nats per token", lambda one: (one.margin, 1)),
    Figure("held_out.recurrence", "corrected-away words said again", "difference", "points", _recurrence()),
    Figure(
        "held_out.logp",
        "log-prob of corrected answers",
        "difference",
        "nats per token",
        lambda one: (one.corrected_logp, 1),
    ),
    *_answers("held_out", "undisputed words told"),
    *(
        Figure(
            f"recurrence.{kind}",
            f"corrected-away words said again ({kind})",
            "difference",
            "points",
            _recurrence(kind),
        )
        for kind in KINDS
    ),
)
GENERAL = (
    Figure(
        "general.divergence",
        "divergence from the base",
        "level",
        "nats per token",
        lambda one: (one.divergence, 1),
    ),
    *_answers("general", "words of the served answer told"),
)
TRUTH = (
    Figure(
        "truth.coverage",
        "objects of the picture told",
        "ratio",
        "points",
        lambda one: (one.truth.coverage, 1) if one.truth else (0, 0),
    ),
    Figure("truth.wrong", "answers with a wrong claim", "difference", "points", _wrong()),
    *(
        Figure(f"truth.{kind}", f"answers with a wrong {kind}", "difference", "points", _wrong(kind))
        for kind in CLAIM_KINDS
    ),
)
FIGURES = {figure.name: figure for figure in (*HELD_OUT, *GENERAL, *TRUTH)}
