"""What makes a decision impossible, each in words of its own: too little, no numbers, no yardstick, no effect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..config import GateConfig
from .measured import ItemMeasurement, Measured, Measurements

NEGLIGIBLE = 1e-5
"""Nats per token by which the same weights may differ when computed in another order."""


def flaws(measurements: Measurements, config: GateConfig) -> list[str]:
    """Nothing where the measurements can be judged."""
    sets = (
        ("held-out corrections", measurements.held_out, config.min_items),
        ("uncorrected answers", measurements.general, config.min_general_items),
    )
    if found := [flaw for name, items, least in sets for flaw in _of_set(name, items, least)]:
        return found
    if not any(_differs(item) for item in (*measurements.held_out, *measurements.general)):
        return ["the adapter changes nothing: it scores and answers as the live one does, on every item"]
    return [
        f"the live adapter says nothing about the {name}, so there is nothing to compare with"
        for name, items, _ in sets
        if not any(item.live.coverage and item.live.num_words for item in items)
    ]


def _of_set(name: str, items: Sequence[ItemMeasurement], least: int) -> Iterable[str]:
    """The first flaw of a set; the others follow from it."""
    if not items:
        yield f"there are no {name} to judge by"
    elif len(items) < least:
        yield f"only {len(items)} {name}, {least} are needed for a decision"
    elif len({item.group for item in items}) < 2:
        yield f"all {name} are about one image, so nothing is known about others"
    elif broken := [item.id for item in items if not (item.live.is_finite and item.candidate.is_finite)]:
        yield f"{len(broken)} of {len(items)} {name} have a measurement that is no number: {broken[0]}"


def _differs(item: ItemMeasurement) -> bool:
    return _answer(item.live) != _answer(item.candidate) or any(
        abs(live - candidate) > NEGLIGIBLE
        for live, candidate in zip(_scores(item.live), _scores(item.candidate), strict=True)
    )


def _scores(one: Measured) -> tuple[float, ...]:
    return one.margin, one.corrected_logp, one.divergence


def _answer(one: Measured) -> Measured:
    return replace(one, margin=0.0, corrected_logp=0.0, divergence=0.0)
