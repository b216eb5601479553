"""What a text claims: themes, totals and clauses that name objects, each with its place in the text.

Reads by the grammar's forms alone and knows nothing about scenes: whether a claim is true is not its business.
What no form matches is kept as unread, never guessed at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .grammar import CLAUSE_PATTERNS, CONNECTOR_PATTERN, SENTENCE_PATTERN, THEME_PATTERNS, TOTAL_PATTERNS
from .lexicon import KIND_OF_NOUN, NUMBERS, PLACES


@dataclass(frozen=True)
class Piece:
    """`text[start:end]` of the text read."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Clause:
    """One naming of a kind of object. What it leaves open is None: `the fish` claims no number."""

    start: int
    end: int
    kind: str
    noun_phrase: Piece
    noun: Piece
    number_word: Piece | None
    colour_word: Piece | None
    place_phrase: Piece | None
    verb: Piece | None

    @property
    def number(self) -> int | None:
        word = self.number_word.text.lower() if self.number_word else "the"
        if word == "the":
            return None
        return {"a": 1, "an": 1, "a pair of": 2}.get(word) or NUMBERS.index(word)

    @property
    def colour(self) -> str | None:
        return self.colour_word.text.lower() if self.colour_word else None

    @property
    def cells(self) -> frozenset[int] | None:
        return PLACES[self.place_phrase.text.lower()] if self.place_phrase else None


@dataclass(frozen=True)
class Sentence:
    """A theme, a total, or clauses in the order of the text; `end` is after the full stop."""

    start: int
    end: int
    theme: Piece | None = None
    total: Piece | None = None
    clauses: tuple[Clause, ...] = ()

    @property
    def claimed_total(self) -> int | None:
        if self.total is None:
            return None
        word = self.total.text.lower()
        return int(word) if word.isdigit() else NUMBERS.index(word)


@dataclass(frozen=True)
class Reading:
    sentences: tuple[Sentence, ...]
    unread: tuple[Piece, ...]

    @property
    def clauses(self) -> tuple[Clause, ...]:
        return tuple(clause for sentence in self.sentences for clause in sentence.clauses)

    @property
    def is_complete(self) -> bool:
        """Something was read, and nothing was left over."""
        return bool(self.sentences) and not self.unread


def read(text: str) -> Reading:
    sentences: list[Sentence] = []
    unread: list[Piece] = []
    for match in SENTENCE_PATTERN.finditer(text):
        sentence = _sentence(text, match.start(), match.start() + len(match[0].rstrip()))
        if sentence is None:
            unread.append(Piece(match.start(), match.end(), match[0]))
        else:
            sentences.append(sentence)
    return Reading(tuple(sentences), tuple(unread))


def _sentence(text: str, start: int, end: int) -> Sentence | None:
    body_end = start + len(text[start:end].rstrip(".! "))
    for pattern in THEME_PATTERNS:
        if match := pattern.fullmatch(text, start, body_end):
            return Sentence(start, end, theme=_piece(match, "theme"))
    for pattern in TOTAL_PATTERNS:
        if match := pattern.fullmatch(text, start, body_end):
            return Sentence(start, end, total=_piece(match, "total"))
    clauses: list[Clause] = []
    for clause_start, clause_end in _clause_bounds(text, start, body_end):
        clause = _clause(text, clause_start, clause_end)
        if clause is None:
            return None
        clauses.append(clause)
    return Sentence(start, end, clauses=tuple(clauses))


def _clause_bounds(text: str, start: int, end: int) -> list[tuple[int, int]]:
    connectors = [match.span() for match in CONNECTOR_PATTERN.finditer(text, start, end)]
    starts = [start, *(after for _, after in connectors)]
    ends = [*(before for before, _ in connectors), end]
    return list(zip(starts, ends, strict=True))


def _clause(text: str, start: int, end: int) -> Clause | None:
    match = next((m for pattern in CLAUSE_PATTERNS if (m := pattern.fullmatch(text, start, end))), None)
    if match is None:
        return None
    phrase, noun = _piece(match, "np"), _piece(match, "noun")
    assert phrase is not None
    assert noun is not None
    return Clause(
        start=start,
        end=end,
        kind=KIND_OF_NOUN[noun.text.lower()],
        noun_phrase=phrase,
        noun=noun,
        number_word=_piece(match, "number"),
        colour_word=_piece(match, "colour"),
        place_phrase=_piece(match, "place"),
        verb=_piece(match, "be"),
    )


def _piece(match: re.Match[str], group: str) -> Piece | None:
    if match.groupdict().get(group) is None:
        return None
    return Piece(*match.span(group), match[group])
