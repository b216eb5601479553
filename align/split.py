"""Which corrections teach and which judge. Decided by a hash of the images, so it never depends on order or chance."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .examples import Example


def is_held_out(group: str, share: float, salt: str = "") -> bool:
    """The same images are always on the same side, in every run with the same share and salt."""
    digest = hashlib.sha256(f"{salt}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def split_examples(
    examples: Sequence[Example], held_out_share: float = 0.2, salt: str = ""
) -> tuple[list[Example], list[Example]]:
    """(train, held out). All examples of one image are on one side."""
    train: list[Example] = []
    held_out: list[Example] = []
    for example in examples:
        (held_out if is_held_out(example.group, held_out_share, salt) else train).append(example)
    return train, held_out
