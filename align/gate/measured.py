"""What was measured on one item, with either adapter: plain values, without a word that anybody wrote."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Measured:
    """One adapter on one item. On an uncorrected answer the margin is 0 and the served text is the chosen one."""

    margin: float  # dense score of the chosen answer minus that of the rejected one, nats per weighted token
    chosen_logp: float  # mean log-prob of the chosen answer, nats per token
    coverage: float  # share of the undisputed words that its own greedy answer contains
    num_words: int  # of its own greedy answer
    is_readable: bool  # its own greedy answer is neither empty nor degenerate

    @property
    def is_finite(self) -> bool:
        return all(math.isfinite(value) for value in astuple(self))


@dataclass(frozen=True)
class ItemMeasurement:
    """Live and candidate adapter on the same item. Items of one `group` (image) are resampled together."""

    id: str
    group: str
    live: Measured
    candidate: Measured
