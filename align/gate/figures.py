"""The figures in which a candidate is compared with the live adapter, each with its paired interval. Judges none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .bootstrap import Bootstrap, Interval
from .measured import ItemMeasurement, Measured

Unit = Literal["nats per token", "points", "of the live adapter's"]
"""Of a change: a difference of means in nats, a difference of shares in points, or a ratio of means."""


@dataclass(frozen=True)
class Figure:
    """A mean over a set of items, in which the two adapters are compared."""

    name: str
    title: str
    unit: Unit
    value: Callable[[Measured], float]

    @property
    def is_ratio(self) -> bool:
        return self.unit == "of the live adapter's"

    def shown(self, change: Interval) -> str:
        """The change with its interval, for people."""
        return f"{self._number(change.estimate)} [{self._number(change.low)}, {self._number(change.high)}] {self.unit}"

    def shown_bound(self, bound: float) -> str:
        return f"{self._number(bound)} {self.unit}"

    def _number(self, value: float) -> str:
        if self.is_ratio:
            return f"{value:.1%}"
        return f"{100 * value:+.1f}" if self.unit == "points" else f"{value:+.3f}"


@dataclass(frozen=True)
class Comparison:
    """The means, and their `change`: candidate minus live, or candidate over live where the figure is a ratio."""

    live: float
    candidate: float
    change: Interval
    num_items: int
    num_images: int


def _answers(items: str, coverage: str) -> tuple[Figure, ...]:
    """What is measured of answers given anew, on either set."""
    return (
        Figure(f"{items}.coverage", coverage, "of the live adapter's", lambda one: one.coverage),
        Figure(f"{items}.length", "words an answer", "of the live adapter's", lambda one: one.num_words),
        Figure(f"{items}.unreadable", "unreadable answers", "points", lambda one: not one.is_readable),
    )


HELD_OUT = (
    Figure("held_out.margin", "score margin", "nats per token", lambda one: one.margin),
    Figure("held_out.logp", "log-prob of corrected answers", "nats per token", lambda one: one.chosen_logp),
    *_answers("held_out", "undisputed words told"),
)
GENERAL = (
    Figure("general.logp", "log-prob of uncorrected answers", "nats per token", lambda one: one.chosen_logp),
    *_answers("general", "words of the served answer told"),
)
FIGURES = {figure.name: figure for figure in (*HELD_OUT, *GENERAL)}


def compare(
    held_out: Sequence[ItemMeasurement], general: Sequence[ItemMeasurement], bootstrap: Bootstrap
) -> dict[str, Comparison]:
    """Every figure, by name."""
    return {
        figure.name: _compared(figure, items, bootstrap)
        for figures, items in ((HELD_OUT, held_out), (GENERAL, general))
        for figure in figures
    }


def _compared(figure: Figure, items: Sequence[ItemMeasurement], bootstrap: Bootstrap) -> Comparison:
    live = np.array([float(figure.value(item.live)) for item in items])
    candidate = np.array([float(figure.value(item.candidate)) for item in items])
    groups = [item.group for item in items]
    change = (
        bootstrap.interval(candidate, live, groups)
        if figure.is_ratio
        else bootstrap.interval(candidate - live, np.ones(len(items)), groups)
    )
    return Comparison(float(live.mean()), float(candidate.mean()), change, len(items), len(set(groups)))
