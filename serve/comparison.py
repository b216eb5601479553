"""How a new version stands against the other that answers, or answered, and what follows: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from align.state import Terms

from .evidence import evidence

MAX_PER_BLOCK = 9
"""Answers of the other version for one of the new one's; more would tell hardly more."""


@dataclass(frozen=True)
class Contrast:
    """Both versions' outcomes of one kind, as they became known: whether an answer was corrected, or failed."""

    name: str
    new: Sequence[bool]
    other: Sequence[bool]
    per_block: int

    @property
    def num_blocks(self) -> int:
        """Answers of the new version that were compared with as many of the other's as that takes."""
        return min(len(self.new), len(self.other) // self.per_block)

    @cached_property
    def evidence(self) -> float:
        return evidence(self.new, self.other, self.per_block)

    def __str__(self) -> str:
        return f"{sum(self.new)} of {len(self.new)} answers {self.name} against {sum(self.other)} of {len(self.other)}"


@dataclass(frozen=True)
class Comparison:
    version: str
    other: str
    is_canary: bool
    terms: Terms
    corrected: Contrast
    failed: Contrast

    @property
    def threshold(self) -> float:
        """Of the evidence of each of the two kinds, so that both together are wrong with a chance of alpha at most."""
        return 2 / self.terms.alpha


@dataclass(frozen=True)
class Undecided:
    pass


@dataclass(frozen=True)
class Breach:
    reason: str


@dataclass(frozen=True)
class Stood:
    reason: str


Verdict = Undecided | Breach | Stood


def judge(comparison: Comparison) -> Verdict:
    """Worse beyond doubt, or as many answers as the terms ask for without that, or neither yet."""
    for outcomes in (comparison.failed, comparison.corrected):
        if outcomes.evidence >= comparison.threshold:
            return Breach(
                f"rolled back: {comparison.version} has {outcomes} of {comparison.other} "
                f"(evidence {outcomes.evidence:.3g}, at most {comparison.threshold:g} by chance)"
            )
    of_new = comparison.corrected
    # to take the live version's place, a candidate must have been compared with it: one person alone is on one side
    num_seen = of_new.num_blocks if comparison.is_canary else len(of_new.new)
    if num_seen >= comparison.terms.num_answers:
        return Stood(
            f"stood the test: {comparison.version} has {of_new} of {comparison.other}, "
            f"and {comparison.failed}"
        )
    return Undecided()


def answers_per_block(share: float) -> int:
    """Of the live version for one of a candidate that has that share."""
    return min(MAX_PER_BLOCK, max(1, round((1 - share) / share)))
