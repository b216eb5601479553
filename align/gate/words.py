"""What a text says, word by word: how much of another it tells, whether it can be read. Knows no model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass

from ..examples import Example
from ..spans import ordered

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
"""Scripts without spaces between words are read character by character, all others word by word."""


@dataclass(frozen=True)
class Word:
    """`text[start:end]` in code points, case folded."""

    start: int
    end: int
    text: str


def words_of(text: str) -> list[Word]:
    return [Word(match.start(), match.end(), match.group().casefold()) for match in _WORD.finditer(text)]


def words(text: str) -> list[str]:
    return [word.text for word in words_of(text)]


def undisputed_words(example: Example) -> set[str]:
    """The distinct words of the served answer that nobody changed."""
    kept, position = [], 0
    for span in ordered(example.served_text, example.spans):
        kept.append(example.served_text[position : span.start])
        position = span.end
    return set(words(" ".join([*kept, example.served_text[position:]])))


def coverage(answer: str, undisputed: Set[str]) -> float:
    """Share of the undisputed words that the answer contains; 1 if there are none.

    The person left these words as they were, so they are true as far as anybody knows, and an answer that drops
    them tells less. Words count once: else "the" and "a" would outweigh the things named. The share is below 1 for
    every model, since a greedy answer words things otherwise than the served one; only its change has a meaning.
    """
    return len(undisputed & set(words(answer))) / len(undisputed) if undisputed else 1.0


def is_readable(text: str) -> bool:
    """Neither empty, nor broken bytes, nor stuck: a text whose word triples mostly repeat is no answer."""
    spoken = words(text)
    if not spoken or text.count("\ufffd") * 10 > len(text):
        return False
    triples = Counter(zip(spoken, spoken[1:], spoken[2:], strict=False))
    num_triples = triples.total()
    return num_triples < 12 or len(triples) * 2 >= num_triples
