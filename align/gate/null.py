"""Candidates without any effect, made of real measurements: what the gate's error of the first kind is counted on."""

from __future__ import annotations

import random
from dataclasses import replace

from .measured import ItemMeasurement, Measurements


def without_effect(measurements: Measurements, seed: int) -> Measurements:
    """For each image a fair coin says which of the two adapters is called the candidate.

    Both are then equally good, whatever they were, while answers stay as noisy and as alike within an image as they
    are. So whatever is admitted here is admitted by chance.
    """
    items = (*measurements.held_out, *measurements.general)
    coin = random.Random(seed)
    is_swapped = {group: coin.random() < 0.5 for group in sorted({item.group for item in items})}

    def toss(item: ItemMeasurement) -> ItemMeasurement:
        return replace(item, live=item.candidate, candidate=item.live) if is_swapped[item.group] else item

    return replace(
        measurements,
        held_out=tuple(map(toss, measurements.held_out)),
        general=tuple(map(toss, measurements.general)),
    )
