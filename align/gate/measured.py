"""What was measured on one item, with either adapter: plain values, without a word that anybody wrote."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Truth:
    """An answer against the known contents of its picture."""

    wrong: tuple[str, ...]  # kinds of claim that are not so, each once
    coverage: float  # share of the objects that the answer names


@dataclass(frozen=True)
class Measured:
    """One adapter on one item: how likely it holds given answers, and what its own greedy answer is like.

    Margin and log-prob are of held-out corrections, the divergence of uncorrected answers; 0 on the others.
    """

    coverage: float  # share of the undisputed words that its answer contains
    num_words: int  # of its answer
    is_readable: bool  # its answer is neither empty nor degenerate
    margin: float = (
        0.0  # dense score of the corrected answer minus that of the served one, nats per weighted token
    )
    corrected_logp: float = 0.0  # mean log-prob of the corrected answer, nats per token
    divergence: float = 0.0  # KL(base || adapter) where the base's answer was read, nats per token
    returned: tuple[
        tuple[str, bool], ...
    ] = ()  # each corrected-away segment: its kind, and whether it is back
    truth: Truth | None = None  # where the world can score itself

    @property
    def is_finite(self) -> bool:
        numbers = (self.coverage, self.num_words, self.margin, self.corrected_logp, self.divergence)
        return all(math.isfinite(number) for number in numbers)


@dataclass(frozen=True)
class ItemMeasurement:
    """Live and candidate adapter on the same item. Items of one `group` (image) are resampled together."""

    id: str
    group: str
    live: Measured
    candidate: Measured


@dataclass(frozen=True)
class Measurements:
    """Both sets of items. `unfit` are the ids of those that the model could not read or spell."""

    held_out: tuple[ItemMeasurement, ...] = ()
    general: tuple[ItemMeasurement, ...] = ()
    unfit: tuple[str, ...] = ()
