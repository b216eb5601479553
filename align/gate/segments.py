"""Which words a correction took away, and whether a new answer says them again. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..examples import Example
from ..spans import ordered
from .words import Word, words, words_of

MAX_PHRASE = 3

Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Segment:
    """What one span removed: the phrases that make it known again. `kind` is the span's."""

    kind: str
    phrases: frozenset[Phrase]

    def is_in(self, answer: str) -> bool:
        """Whether at least half of the phrases stand in the answer: a sentence may come back in other words."""
        spoken = words(answer)
        length = len(next(iter(self.phrases)))
        return 2 * len(self.phrases & set(_phrases(spoken, length))) >= len(self.phrases)


def removed_segments(example: Example) -> list[Segment]:
    """One for each span that removes words.

    A removed word alone may be true elsewhere in the picture ("red"), so it is looked for in the shortest phrases of
    one to three words, reaching over the span's ends by up to two, that the corrected text does not hold itself.
    Where even those stand in the corrected text, nothing tells the mistake from the truth, and the span is left out.
    """
    served, corrected = words_of(example.served_text), words(example.corrected_text)
    segments = []
    for span in ordered(example.served_text, example.spans):
        touched = [
            index for index, word in enumerate(served) if word.start < span.end and span.start < word.end
        ]
        if touched and (phrases := _telling(served, touched, corrected)):
            segments.append(Segment(span.kind, phrases))
    return segments


def _telling(served: Sequence[Word], touched: Sequence[int], corrected: Sequence[str]) -> frozenset[Phrase]:
    for length in range(1, min(MAX_PHRASE, len(served)) + 1):
        around = served[max(0, touched[0] - length + 1) : touched[-1] + length]
        phrases = set(_phrases([word.text for word in around], length))
        if new := phrases - set(_phrases(corrected, length)):
            return frozenset(new)
    return frozenset()


def _phrases(spoken: Sequence[str], length: int) -> list[Phrase]:
    return [tuple(spoken[start : start + length]) for start in range(len(spoken) - length + 1)]
