"""Prompts read before, so that another one that begins alike need not be read from its start. Knows no model.

What a version read stays true as long as the version is what it is: forget it with the version's weights.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import accumulate, takewhile

from .cache import Layers

BLOCK = 16
"""Tokens by which beginnings are looked up: fewer are not worth the copy."""


@dataclass(frozen=True)
class Reading:
    """A prompt as one adapter version read it."""

    version: str
    token_ids: tuple[int, ...]
    image_ids: tuple[str, ...]
    layers: Layers
    position_offset: int
    """As in `Sequence`."""

    @property
    def num_bytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)

    def shares(self, version: str, token_ids: tuple[int, ...], image_ids: tuple[str, ...]) -> bool:
        return (version, image_ids, token_ids) == (
            self.version,
            self.image_ids,
            self.token_ids[: len(token_ids)],
        )


class Prefixes:
    """Least recently used first out, beyond `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.num_bytes = 0
        self._kept: OrderedDict[int, Reading] = OrderedDict()  # by the hash of all of it
        self._beginnings: dict[
            int, int
        ] = {}  # from the hash of a beginning to that of the newest that has it

    @property
    def is_on(self) -> bool:
        return self._max_bytes > 0

    def longest(
        self, version: str, token_ids: tuple[int, ...], image_ids: tuple[str, ...]
    ) -> tuple[Reading, int] | None:
        """The reading with which a prompt shares most, and how many tokens; all images are the same."""
        hashes = _hashes(version, token_ids, image_ids)
        for num_blocks in range(len(hashes), 0, -1):
            key = self._beginnings.get(hashes[num_blocks - 1])
            if key is None:
                continue
            reading, num_tokens = self._kept[key], num_blocks * BLOCK
            if reading.shares(version, token_ids[:num_tokens], image_ids):
                self._kept.move_to_end(key)
                rest = zip(reading.token_ids[num_tokens:], token_ids[num_tokens:], strict=False)
                return reading, num_tokens + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], rest))
        return None

    def has(self, version: str, token_ids: tuple[int, ...], image_ids: tuple[str, ...]) -> bool:
        return hash((version, image_ids, token_ids)) in self._kept

    def keep(self, reading: Reading) -> None:
        """Nothing if it is larger than all there is."""
        key = hash((reading.version, reading.image_ids, reading.token_ids))
        if key in self._kept or reading.num_bytes > self._max_bytes:
            return
        self._kept[key] = reading
        self.num_bytes += reading.num_bytes
        self._beginnings.update(
            dict.fromkeys(_hashes(reading.version, reading.token_ids, reading.image_ids), key)
        )
        while self.num_bytes > self._max_bytes:
            self._forget(*self._kept.popitem(last=False))

    def forget(self, version: str) -> None:
        """All that a version read."""
        for key, reading in [(key, one) for key, one in self._kept.items() if one.version == version]:
            del self._kept[key]
            self._forget(key, reading)

    def _forget(self, key: int, reading: Reading) -> None:
        self.num_bytes -= reading.num_bytes
        for beginning in _hashes(reading.version, reading.token_ids, reading.image_ids):
            if self._beginnings.get(beginning) == key:
                del self._beginnings[beginning]


def _hashes(version: str, token_ids: tuple[int, ...], image_ids: tuple[str, ...]) -> list[int]:
    """Of the first block, of the first two, ..., each made from the one before."""
    whole = len(token_ids) // BLOCK * BLOCK
    blocks = [token_ids[start : start + BLOCK] for start in range(0, whole, BLOCK)]
    start = hash((version, image_ids))
    return list(accumulate(blocks, lambda before, block: hash((before, block)), initial=start))[1:]
