"""Which corrections teach and which judge, and which answers stand for all others. Decided by hashes, so it never
depends on order or chance.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .examples import Example

MANY = 10
"""Examples that look the same, and may yet be copies of one picture, however few there are in all."""


@dataclass(frozen=True)
class Split:
    """`left_out` are those that would be on both sides: some of their images teach, others judge."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    left_out: tuple[Example, ...]


def split_examples(examples: Sequence[Example], held_out_share: float = 0.2, at_least: int = 0) -> Split:
    """No image is on both sides, not even as a copy, nor within a conversation of several images.

    Images whose `position` is up to the share are held out, in every run, but for those that look as most of the others
    do: once they are most, their bytes decide anew. Where that holds out fewer than `at_least`
    examples, the images that come next follow, but never more than half of the examples.
    """
    spans = [_positions(names) for names in _names(examples)]
    bound = _bound([last for _, last in spans], held_out_share, at_least)
    sides: dict[str, list[Example]] = {"train": [], "held out": [], "left out": []}
    for example, (first, last) in zip(examples, spans, strict=True):
        side = "held out" if last <= bound else "train" if first > bound else "left out"
        sides[side].append(example)
    return Split(tuple(sides["train"]), tuple(sides["held out"]), tuple(sides["left out"]))


def judged_by_reviewed(split: Split, reviewed: Collection[str], at_least: int) -> Split:
    """With only reviewed examples judging, once `at_least` of those held out are reviewed, by their ids.

    Who writes what judges decides what is admitted. The others that were held out teach, but for those about an image
    of one that judges, which are left out.
    """
    judges = tuple(example for example in split.held_out if example.id in reviewed)
    if len(judges) < at_least:
        return split
    examples = (*split.train, *split.held_out, *split.left_out)
    names = {example.id: own for example, own in zip(examples, _names(examples), strict=True)}
    judged = frozenset[str]().union(*(names[example.id] for example in judges))
    others = [example for example in split.held_out if example.id not in reviewed]
    free = tuple(example for example in others if judged.isdisjoint(names[example.id]))
    bound = tuple(example for example in others if not judged.isdisjoint(names[example.id]))
    return Split(split.train + free, judges, split.left_out + bound)


def position(name: str) -> float:
    """Where a name stands in a fixed random order of all names: 0 to 1."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def drawn_by_lot(names: Iterable[str], seed: int) -> list[str]:
    """All names in a random order that only the seed decides: each beginning of it is a sample without bias."""
    return sorted(names, key=lambda name: position(f"{seed}\0{name}"))


def _names(examples: Sequence[Example]) -> list[frozenset[str]]:
    """What must not be on both sides, for each example: how its images look, or its words where there are none.

    A look that most examples share, such as that of pages of text or of one camera's pictures, is not that of a copy:
    there the images' bytes count.
    """
    number = Counter(look for example in examples for look in example.looks)
    common = {look for look, num in number.items() if num > max(len(examples) / 2, MANY)}
    return [
        example.looks if common.isdisjoint(example.looks) else (example.looks - common) | example.parts
        for example in examples
    ]


def _positions(names: Iterable[str]) -> tuple[float, float]:
    """The first and the last."""
    positions = [position(name) for name in names]
    return min(positions), max(positions)


def _bound(positions: Sequence[float], share: float, at_least: int) -> float:
    """The position up to which examples are held out."""
    half = len(positions) // 2
    wanted = min(at_least, half)
    if sum(one <= share for one in positions) >= wanted:
        return share
    bound = sorted(positions)[wanted - 1]
    if sum(one <= bound for one in positions) <= half:
        return bound
    return max([share, *(one for one in positions if one < bound)])  # many are at the same place
