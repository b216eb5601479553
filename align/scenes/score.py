"""Compares what a text claims with what stands in the scene. Knows nothing about models or corrections.

Text that cannot be read is counted as unreadable: it is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .claims import Clause, Piece, Reading, read
from .world import Item, Scene

ClaimKind = Literal["object", "colour", "position", "number", "total", "repeat", "theme"]
CLAIM_KINDS: tuple[ClaimKind, ...] = ("object", "colour", "position", "number", "total", "repeat", "theme")


@dataclass(frozen=True)
class WrongClaim:
    """The claim at `text[start:end]` is not so. `truth` is the scene's value; None where nothing corresponds."""

    kind: ClaimKind
    start: int
    end: int
    claimed: str
    truth: str | None = None


@dataclass(frozen=True)
class Judged:
    """A clause and the item it speaks of: None where the kind is absent, or the item has its clause elsewhere."""

    clause: Clause
    item: Item | None
    wrong: tuple[WrongClaim, ...]


@dataclass(frozen=True)
class Score:
    wrong: tuple[WrongClaim, ...]
    unread: tuple[Piece, ...]
    num_claims_read: int
    num_mentions: int
    num_covered: int
    num_objects: int
    num_words: int

    @property
    def is_hallucinated(self) -> bool:
        return bool(self.wrong)

    @property
    def is_unreadable(self) -> bool:
        """A part could not be read, or nothing at all was claimed."""
        return bool(self.unread) or self.num_claims_read == 0

    @property
    def coverage(self) -> float:
        """The share of the scene's kinds that the text names."""
        return self.num_covered / self.num_objects

    def num_wrong(self, kind: ClaimKind) -> int:
        return sum(claim.kind == kind for claim in self.wrong)


def score(text: str, scene: Scene) -> Score:
    reading = read(text)
    judged = judge(reading, scene)
    wrong = [*_wrong_sentences(reading, scene), *(claim for one in judged for claim in one.wrong)]
    named = {one.item.kind for one in judged if one.item is not None}
    return Score(
        wrong=tuple(sorted(wrong, key=lambda claim: claim.start)),
        unread=reading.unread,
        num_claims_read=len(reading.sentences),
        num_mentions=len(judged),
        num_covered=len(named),
        num_objects=len(scene.items),
        num_words=len(text.split()),
    )


def judge(reading: Reading, scene: Scene) -> tuple[Judged, ...]:
    """Each clause in the order of the text. Of several clauses on one item the truest counts; others repeat it."""
    best: dict[str, Clause] = {}
    for clause in reading.clauses:
        item = scene.item_of(clause.kind)
        if item is None:
            continue
        rival = best.get(clause.kind)
        if rival is None or len(_faults(clause, item)) < len(_faults(rival, item)):
            best[clause.kind] = clause
    return tuple(_judged(clause, scene, best) for clause in reading.clauses)


def _judged(clause: Clause, scene: Scene, best: dict[str, Clause]) -> Judged:
    item = scene.item_of(clause.kind)
    phrase = clause.noun_phrase
    if item is None:
        return Judged(clause, None, (WrongClaim("object", phrase.start, phrase.end, phrase.text),))
    if best[clause.kind] is not clause:
        return Judged(clause, None, (WrongClaim("repeat", phrase.start, phrase.end, phrase.text),))
    return Judged(clause, item, _faults(clause, item))


def _faults(clause: Clause, item: Item) -> tuple[WrongClaim, ...]:
    return tuple(_attribute_faults(clause, item))


def _attribute_faults(clause: Clause, item: Item) -> Iterator[WrongClaim]:
    if clause.colour_word and clause.colour != item.colour:
        yield _wrong("colour", clause.colour_word, item.colour)
    if clause.place_phrase and clause.cells is not None and item.cell not in clause.cells:
        yield _wrong("position", clause.place_phrase, str(item.cell))
    if clause.number_word and clause.number not in (None, item.count):
        yield _wrong("number", clause.number_word, str(item.count))


def _wrong_sentences(reading: Reading, scene: Scene) -> Iterator[WrongClaim]:
    for sentence in reading.sentences:
        if sentence.theme and sentence.theme.text.lower() != scene.theme:
            yield _wrong("theme", sentence.theme, scene.theme)
        if sentence.total and sentence.claimed_total != scene.total:
            yield _wrong("total", sentence.total, str(scene.total))


def _wrong(kind: ClaimKind, piece: Piece, truth: str) -> WrongClaim:
    return WrongClaim(kind, piece.start, piece.end, piece.text, truth)
