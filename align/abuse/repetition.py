"""The same words inserted over different images: a claim that is planted, or a mistake that the model always makes.

Words alone do not tell the two apart, so both wait for a reviewer. What others' answers say anyway is neither.
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
        """As high as it may well be, by the rule of three: with three more answers that say it.

        So few answers prove little, and none prove nothing.
        """
        return (self.num_saying + 3) / (self.num_answers + 3)


def is_widespread(num_images: int, num_corrections: int, usage: Usage, config: ScreeningConfig) -> bool:
    """Whether a phrase is inserted over several images, and in far more corrections than others' answers say it.

    Of all sources together, so that it doesn't matter over how many of them a claim is spread.
    """
    is_several = num_images >= config.repeated_images
    return is_several and num_images / num_corrections >= config.repeated_ratio * usage.rate


def is_insisted_on(
    num_images: Mapping[str, int],
    num_corrections: Mapping[str, int],
    usage: Usage,
    config: ScreeningConfig,
) -> bool:
    """Whether those who insert a phrase insert it again and again. Both counts are by source, of those alone.

    What counts is how many of their *other* corrections insert it too: each of them has inserted it once, and would
    stand out by that with few corrections. So a few sources are found among many, however few corrections each sent.
    """
    num_repeats = sum(num_images.values()) - len(num_images)
    num_others = sum(num_corrections.values()) - len(num_corrections)
    is_several = num_repeats >= config.repeated_images - 1
    return is_several and num_repeats / num_others >= config.repeated_ratio * usage.rate
