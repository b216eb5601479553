"""How one list of words becomes another: the edits of difflib, whatever the words at a price that is known beforehand.

Knows nothing of texts. Words that are white space count as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher
from itertools import pairwise
from typing import Any

MAX_STEPS = 4_000_000
"""Of comparing, for each of two attempts; well under a second. difflib alone takes the third power of the length where
the same word, or the space between words, stands on both sides again and again: hours for what a request may hold."""

Opcode = tuple[str, int, int, int, int]


def opcodes(left: Sequence[str], right: Sequence[str]) -> list[Opcode]:
    """As `SequenceMatcher.get_opcodes`, and always exact.

    Coarser where that would take too long: a word and the space after it are one, and a part that is still too much is
    replaced as a whole, but for what its two sides begin and end with.
    """
    matcher = _BoundedMatcher(left, right)
    found: list[Opcode] = list(matcher.get_opcodes())
    return found if matcher.num_steps <= MAX_STEPS else list(_coarser(left, right))


def _coarser(left: Sequence[str], right: Sequence[str]) -> Iterator[Opcode]:
    left_bounds, right_bounds = _bounds(left), _bounds(right)
    units = (
        [tuple(words[start:end]) for start, end in pairwise(bounds)]
        for words, bounds in ((left, left_bounds), (right, right_bounds))
    )
    for tag, i1, i2, j1, j2 in _BoundedMatcher(*units).get_opcodes():
        at = left_bounds[i1], left_bounds[i2], right_bounds[j1], right_bounds[j2]
        yield from [(tag, *at)] if tag == "equal" else _trimmed(left, right, *at)


def _bounds(words: Sequence[str]) -> list[int]:
    """Where each word begins that is no white space, and the end; the first unit begins with whatever there is."""
    return [0, *(n for n, word in enumerate(words) if n > 0 and not word.isspace()), len(words)]


def _trimmed(
    left: Sequence[str], right: Sequence[str], i1: int, i2: int, j1: int, j2: int
) -> Iterator[Opcode]:
    """An edit without what both of its sides begin and end with."""
    start = _num_common(left[i1:i2], right[j1:j2])
    end = _num_common(left[i1 + start : i2][::-1], right[j1 + start : j2][::-1])
    if start:
        yield "equal", i1, i1 + start, j1, j1 + start
    edit = i1 + start, i2 - end, j1 + start, j2 - end
    tag = "insert" if edit[0] == edit[1] else "delete" if edit[2] == edit[3] else "replace"
    if edit[0] < edit[1] or edit[2] < edit[3]:
        yield tag, *edit
    if end:
        yield "equal", i2 - end, i2, j2 - end, j2


def _num_common(left: Sequence[str], right: Sequence[str]) -> int:
    pairs = zip(left, right, strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(left), len(right)))


class _BoundedMatcher(SequenceMatcher[Any]):
    """Finds no further match once it has made `MAX_STEPS` steps: the rest is then replaced."""

    a: Sequence[Any]
    b2j: dict[Any, list[int]]

    def __init__(self, left: Sequence[Any], right: Sequence[Any]) -> None:
        self.num_steps = 0
        super().__init__(None, left, right, autojunk=False)

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> Match:
        looked_at = range(alo, len(self.a) if ahi is None else ahi)
        self.num_steps += sum(1 + len(self.b2j.get(self.a[i], ())) for i in looked_at)
        if self.num_steps > MAX_STEPS:
            return Match(alo, blo, 0)
        return super().find_longest_match(alo, ahi, blo, bhi)
