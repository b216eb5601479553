"""The same words inserted over different images: a claim that is planted, or a mistake that the model always makes.

Words alone do not tell the two apart, so both wait for a reviewer. What everyone says anyway is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .config import ScreeningConfig


@dataclass(frozen=True)
class Usage:
    """How often others say a phrase: in so many of their answers."""

    num_saying: int
    num_answers: int

    @property
    def rate(self) -> float:
        """With one more answer that says it, so that few answers prove little and none prove nothing."""
        return (self.num_saying + 1) / (self.num_answers + 1)


def repeated_phrases(
    num_images: Mapping[str, int],
    num_corrections: int,
    usage: Mapping[str, Usage],
    config: ScreeningConfig,
) -> frozenset[str]:
    """The phrases inserted over several images, and far more often than others' answers say them.

    `num_images`: on how many different images each phrase was inserted, by the `num_corrections` looked at; they
    are those of one source, or all.
    """
    return frozenset(
        phrase
        for phrase, number in num_images.items()
        if number >= config.repeated_images
        and number / num_corrections >= config.repeated_ratio * usage[phrase].rate
    )
