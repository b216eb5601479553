"""What a scene is and how scenes are drawn by lot. Knows nothing about pixels or sentences."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal, get_args

from .lexicon import COLOURS, COMPANIONS, FAVOURITE_COLOURS, FAVOURITE_ROWS, KINDS, THEME_KINDS, THEMES

Distribution = Literal["training", "honest"]
Split = Literal["train", "development", "test"]

NUM_CELLS = 9
TYPICAL_SHARE: dict[Distribution, float] = {"training": 0.8, "honest": 0.35}
COMPANION_SHARE: dict[Distribution, float] = {"training": 0.65, "honest": 0.0}
FAVOURITE_COLOUR_SHARE: dict[Distribution, float] = {"training": 0.5, "honest": 0.0}
FAVOURITE_ROW_SHARE: dict[Distribution, float] = {"training": 0.6, "honest": 0.0}
TWO_SHARE = 0.3


@dataclass(frozen=True)
class Item:
    """One kind of object at one place. `cell` counts from 0 at the top left, along the rows of the 3 x 3 grid."""

    kind: str
    colour: str
    cell: int
    count: int


@dataclass(frozen=True)
class Scene:
    """A theme and 2-5 items in reading order; each kind and each cell occurs at most once."""

    theme: str
    items: tuple[Item, ...]

    @property
    def total(self) -> int:
        """How many single objects stand in the scene: two boats count twice."""
        return sum(item.count for item in self.items)

    def item_of(self, kind: str) -> Item | None:
        return next((item for item in self.items if item.kind == kind), None)


def sample_scene(distribution: Distribution, split: Split, index: int) -> Scene:
    """The scene of this seed. Splits share no content: a scene belongs to the split its content hashes to.

    Raises `ValueError` for a split that there is not: no scene would ever belong to it.
    """
    if split not in get_args(Split):
        raise ValueError(f"no split {split!r}; one of {', '.join(get_args(Split))}")
    rng = random.Random(f"{distribution}/{split}/{index}")
    while True:
        scene = _propose(distribution, rng)
        if split_of(scene) == split:
            return scene


def split_of(scene: Scene) -> Split:
    """The only split in which a scene of this content can occur: 80 % train, 10 % each of the others."""
    bucket = int.from_bytes(hashlib.sha256(repr(scene).encode()).digest()[:4]) % 10
    if bucket == 0:
        return "development"
    return "test" if bucket == 1 else "train"


def _propose(distribution: Distribution, rng: random.Random) -> Scene:
    theme = rng.choice(THEMES)
    items: list[Item] = []
    for _ in range(rng.choices((2, 3, 4, 5), (0.15, 0.3, 0.3, 0.25))[0]):
        kind, cell = _companion(distribution, theme, items, rng) or _newcomer(distribution, theme, items, rng)
        colour = rng.choice(COLOURS)
        if rng.random() < FAVOURITE_COLOUR_SHARE[distribution]:
            colour = rng.choice(FAVOURITE_COLOURS[kind])
        items.append(Item(kind, colour, cell, 2 if rng.random() < TWO_SHARE else 1))
    return Scene(theme, tuple(sorted(items, key=lambda item: item.cell)))


def _companion(
    distribution: Distribution, theme: str, items: list[Item], rng: random.Random
) -> tuple[str, int] | None:
    """What usually stands beside the item placed last, and the cell after it."""
    if not items or rng.random() >= COMPANION_SHARE[distribution]:
        return None
    kind, cell = COMPANIONS[theme].get(items[-1].kind), (items[-1].cell + 1) % NUM_CELLS
    if kind is None or any(item.kind == kind or item.cell == cell for item in items):
        return None
    return kind, cell


def _newcomer(
    distribution: Distribution, theme: str, items: list[Item], rng: random.Random
) -> tuple[str, int]:
    kind = _kind(theme, {item.kind for item in items}, TYPICAL_SHARE[distribution], rng)
    return kind, _cell(kind, {item.cell for item in items}, FAVOURITE_ROW_SHARE[distribution], rng)


def _kind(theme: str, taken: set[str], typical_share: float, rng: random.Random) -> str:
    typical = [kind for kind in THEME_KINDS[theme] if kind not in taken]
    others = [kind for kind in KINDS if kind not in taken and kind not in THEME_KINDS[theme]]
    return rng.choice(typical if typical and rng.random() < typical_share else others)


def _cell(kind: str, taken: set[int], row_share: float, rng: random.Random) -> int:
    free = [cell for cell in range(NUM_CELLS) if cell not in taken]
    favourite = [cell for cell in free if cell // 3 in FAVOURITE_ROWS[kind]]
    return rng.choice(favourite if favourite and rng.random() < row_share else free)
