"""Which corrections teach and which judge, and which answers stand for all others. Decided by hashes, so it never
depends on order or chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .examples import Example


@dataclass(frozen=True)
class Split:
    """`left_out` are those that would be on both sides: some of their images teach, others judge."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    left_out: tuple[Example, ...]


def split_examples(examples: Sequence[Example], held_out_share: float = 0.2, at_least: int = 0) -> Split:
    """No image is on both sides, not even as a copy, nor within a conversation of several images.

    Images whose `position` is up to the share are held out, in every run. Where that holds out fewer than `at_least`
    examples, the images that come next follow, but never more than half of the examples.
    """
    spans = [_positions(example) for example in examples]
    bound = held_out_share
    wanted = min(at_least, len(examples) // 2)
    if sum(last <= bound for _, last in spans) < wanted:
        bound = sorted(last for _, last in spans)[wanted - 1]
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
    judged = {look for example in judges for look in example.looks}
    others = [example for example in split.held_out if example.id not in reviewed]
    free = tuple(example for example in others if judged.isdisjoint(example.looks))
    bound = tuple(example for example in others if not judged.isdisjoint(example.looks))
    return Split(split.train + free, judges, split.left_out + bound)


def position(name: str) -> float:
    """Where a name stands in a fixed random order of all names: 0 to 1."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def drawn_by_lot(names: Iterable[str], seed: int) -> list[str]:
    """All names in a random order that only the seed decides: each beginning of it is a sample without bias."""
    return sorted(names, key=lambda name: position(f"{seed}\0{name}"))


def _positions(example: Example) -> tuple[float, float]:
    """Of how the example's images look, or of its words where there are none: the first and the last."""
    positions = [position(look) for look in example.looks]
    return min(positions), max(positions)
