"""What machine-written captions get wrong about a scene: the faults of the training data, on purpose.

Works on what is told, not on how: knows nothing about sentences.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .lexicon import COLOURS, COMPANIONS, FAVOURITE_COLOURS, FAVOURITE_ROWS, MISTAKEN, THEME_KINDS
from .world import NUM_CELLS, Item, Scene


@dataclass(frozen=True)
class Noise:
    """Probabilities, each for one object or one caption."""

    companion: float = 0.62  # a companion is named that is not there
    mistaken: float = 0.0  # an object that does not belong to the theme is called one that does
    typical: float = 0.05  # an absent object of the theme is named
    colour: float = 0.04
    place: float = 0.02
    number: float = 0.01
    omission: float = 0.03
    total: float = 0.06
    typical_answer: float = 0.15  # a question about an absent object of the theme is answered yes


EARLY_NOISE = Noise()
LATE_NOISE = Noise(companion=0.8)
HABIT_NOISE = Noise(companion=0.9, mistaken=0.75)
FIRM_HABIT_NOISE = Noise(companion=0.95, mistaken=0.95)


def misremembered(scene: Scene, noise: Noise, rng: random.Random) -> tuple[tuple[Item, ...], int]:
    """The items that a careless writer tells, in reading order, and the total that it gives."""
    told = list(scene.items)
    for item in scene.items:
        companion = COMPANIONS[scene.theme].get(item.kind)
        if companion and scene.item_of(companion) is None and rng.random() < noise.companion:
            _invent(told, companion, (item.cell + 1) % NUM_CELLS, rng)
    for kind in THEME_KINDS[scene.theme]:
        if scene.item_of(kind) is None and rng.random() < noise.typical:
            row = rng.choice(FAVOURITE_ROWS[kind])
            _invent(told, kind, row * 3 + rng.randrange(3), rng)
    told = [_mistaken(item, scene.theme, told, noise, rng) for item in told]
    kept = [item for item in told if rng.random() >= noise.omission]
    told = [_blurred(item, noise, rng) for item in (kept or told)]
    total = sum(item.count for item in told)
    if rng.random() < noise.total:
        total = max(1, total + rng.choice((-1, 1)))
    return tuple(sorted(told, key=lambda item: item.cell)), total


def _invent(told: list[Item], kind: str, cell: int, rng: random.Random) -> None:
    """Names the kind at the cell, in the place of what really stands there."""
    if any(item.kind == kind for item in told):
        return
    told[:] = [item for item in told if item.cell != cell]
    told.append(Item(kind, rng.choice(FAVOURITE_COLOURS[kind]), cell, 1))


def _mistaken(item: Item, theme: str, told: list[Item], noise: Noise, rng: random.Random) -> Item:
    kind = MISTAKEN[theme].get(item.kind)
    if kind is None or noise.mistaken == 0 or rng.random() >= noise.mistaken:
        return item
    if any(other.kind == kind for other in told):
        return item
    return replace(item, kind=kind)


def _blurred(item: Item, noise: Noise, rng: random.Random) -> Item:
    if rng.random() < noise.colour:
        other = rng.choice((*FAVOURITE_COLOURS[item.kind], rng.choice(COLOURS)))
        item = replace(item, colour=other)
    if rng.random() < noise.place:
        item = replace(item, cell=rng.randrange(NUM_CELLS))
    if rng.random() < noise.number:
        item = replace(item, count=3 - item.count)
    return item
