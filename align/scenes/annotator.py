"""A simulated annotator: the smallest edit that makes a text true of its scene. Knows nothing about models.

An invented object becomes what really stands at the place named, if the text does not name that elsewhere; else
another object that the text leaves out, with its place; only when all are named does the clause go. So fewer words
change than by striking it out, and the text tells no less. All other faults are mended word by word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..spans import Span, diff_spans
from .claims import Clause, Piece, Reading, Sentence, read
from .grammar import PLURAL_VERBS, SINGULAR_VERBS, capitalised
from .lexicon import CELL_PHRASES, COLOURS, NUMBERS, article, noun
from .score import Judged, judge
from .world import NUM_CELLS, Item, Scene


@dataclass(frozen=True)
class _Plan:
    """What becomes of each clause: the item it is to speak of, or None where it is to go."""

    clause: Clause
    item: Item | None
    is_moved: bool = False
    is_faulty: bool = True

    @property
    def is_replaced(self) -> bool:
        return self.item is not None and self.item.kind != self.clause.kind


def annotate(text: str, scene: Scene) -> list[Span] | None:
    """The edits by position, empty where nothing is wrong; None where the text cannot be read."""
    reading = read(text)
    if not reading.is_complete:
        return None
    plans = {plan.clause.start: plan for plan in _plans(reading, scene)}
    edits = list(_sentence_edits(reading, scene))
    edits += _deletions(text, reading, {start for start, plan in plans.items() if plan.item is None})
    for plan in plans.values():
        if plan.item is not None and plan.is_faulty:  # a slip of grammar is no fault
            edits += _clause_edits(plan, plan.item)
    return _joined(text, edits)


def _plans(reading: Reading, scene: Scene) -> list[_Plan]:
    judged = judge(reading, scene)
    unnamed = list(scene.items)
    for one in judged:
        if one.item is not None:
            unnamed.remove(one.item)
    plans = [_plan(one, unnamed) for one in judged]
    return [_moved_in(plan, unnamed) if plan.item is None else plan for plan in plans]


def _moved_in(plan: _Plan, unnamed: list[Item]) -> _Plan:
    """The clause tells of an object that stands elsewhere and that no other clause tells of, if there is one."""
    return _Plan(plan.clause, unnamed.pop(0), is_moved=True) if unnamed else plan


def _plan(judged: Judged, unnamed: list[Item]) -> _Plan:
    """Takes the item that it names instead from `unnamed`."""
    if judged.item is not None:
        is_moved = any(claim.kind == "position" for claim in judged.wrong)
        return _Plan(judged.clause, judged.item, is_moved, is_faulty=bool(judged.wrong))
    cells = judged.clause.cells or frozenset(range(NUM_CELLS))
    stand_in = next((item for item in unnamed if item.cell in cells), None)
    if stand_in is not None:
        unnamed.remove(stand_in)
    return _Plan(judged.clause, stand_in)


def _sentence_edits(reading: Reading, scene: Scene) -> Iterator[Span]:
    for sentence in reading.sentences:
        if sentence.theme and sentence.theme.text.lower() != scene.theme:
            yield Span(sentence.theme.start, sentence.theme.end, scene.theme, "other")
        if sentence.total and sentence.claimed_total != scene.total:
            is_figure = sentence.total.text.isdigit()
            total = str(scene.total) if is_figure else NUMBERS[scene.total]
            yield Span(sentence.total.start, sentence.total.end, total, "number")


def _clause_edits(plan: _Plan, item: Item) -> Iterator[Span]:
    clause = plan.clause
    phrase = _noun_phrase(clause, item, plan.is_replaced)
    colour_words = (*COLOURS, "a", "an") if clause.number == item.count else COLOURS
    for edit in _changes(clause.noun_phrase, phrase, "number"):
        is_colour = edit.replacement.lower() in colour_words
        kind = "object" if plan.is_replaced else ("attribute" if is_colour else "number")
        yield Span(edit.start, edit.end, edit.replacement, kind)
    if clause.verb and (plan.is_replaced or clause.number not in (None, item.count)):
        verb = clause.verb.text
        agreed = PLURAL_VERBS.get(verb, verb) if item.count == 1 else SINGULAR_VERBS.get(verb, verb)
        yield from _changes(clause.verb, agreed, "object" if plan.is_replaced else "number")
    if plan.is_moved and clause.place_phrase:
        place = _nearest_phrase(clause.place_phrase.text, item.cell)
        yield from _changes(clause.place_phrase, place, "position")


def _noun_phrase(clause: Clause, item: Item, is_replaced: bool) -> str:
    """The clause's noun phrase made true: it leaves open what it left open."""
    colour = [item.colour] if clause.colour_word else []
    is_counted = clause.number is not None
    word = noun(item.kind, item.count) if is_counted or is_replaced else clause.noun.text
    lead = [clause.number_word.text.lower()] if clause.number_word else []
    if is_counted and (clause.number != item.count or lead in (["a"], ["an"])):
        lead = [article((colour or [word])[0]) if item.count == 1 else NUMBERS[item.count]]
    return " ".join([*lead, *colour, word])


def _nearest_phrase(phrase: str, cell: int) -> str:
    """Of the cell's names the one that shares most words with the phrase."""
    words = set(phrase.lower().split())
    return min(CELL_PHRASES[cell], key=lambda name: len(words ^ set(name.split())))


def _changes(piece: Piece, new: str, kind: str) -> Iterator[Span]:
    """The words of the piece that change, as spans of the whole text."""
    if piece.text[0].isupper():
        new = capitalised(new)
    edits = diff_spans(piece.text, new)
    if edits and edits[0].start == 0 and not (edits[0].end and edits[0].replacement):
        edits = [Span(0, len(piece.text), new)]  # the first word must keep its capital: not by halves
    for edit in edits:
        yield Span(piece.start + edit.start, piece.start + edit.end, edit.replacement, kind)


def _deletions(text: str, reading: Reading, doomed: set[int]) -> Iterator[Span]:
    """Whole sentences with the space beside them, and clauses with the connector before them."""
    gone = [bool(s.clauses) and all(c.start in doomed for c in s.clauses) for s in reading.sentences]
    sentences = reading.sentences
    for position, sentence in enumerate(sentences):
        if not gone[position]:
            yield from _clause_deletions(text, sentence, doomed)
        elif any(not later for later in gone[position:]):
            yield Span(sentence.start, sentences[position + 1].start, "", "object")
        else:
            before = sentences[position - 1].end if position else 0
            yield Span(before, sentence.end, "", "object")


def _clause_deletions(text: str, sentence: Sentence, doomed: set[int]) -> Iterator[Span]:
    survivors = [clause for clause in sentence.clauses if clause.start not in doomed]
    for previous, clause in zip(sentence.clauses, sentence.clauses[1:], strict=False):
        if clause.start in doomed and clause.start > survivors[0].start:
            yield Span(previous.end, clause.end, "", "object")
    if survivors and survivors[0] is not sentence.clauses[0]:
        first = survivors[0].start
        yield Span(sentence.start, first, "", "object")
        if sentence.clauses[0].start == sentence.start and text[sentence.start].isupper():
            yield Span(first, first + 1, text[first].upper(), "object")


def _joined(text: str, edits: Iterable[Span]) -> list[Span]:
    """In order; edits that touch become one, and a capital falls to the edit that rewrites its letter.

    Capitals come before clause edits in `edits`, and the order of equals is kept.
    """
    result: list[Span] = []
    for edit in sorted(edits, key=lambda span: (span.start, span.end)):
        last = result[-1] if result else None
        if last is None or edit.start > last.end or edit.start == edit.end:
            result.append(edit)
        elif edit.start == last.end:
            result[-1] = Span(last.start, edit.end, last.replacement + edit.replacement, last.kind)
        else:
            capital = last.replacement[len(last.replacement) - (last.end - edit.start) :]
            assert capital == text[edit.start].upper(), "only a capital may meet another edit"
            kept = last.replacement[: len(last.replacement) - len(capital)]
            result[-1] = Span(last.start, edit.end, kept + capitalised(edit.replacement), last.kind)
    return [edit for edit in result if text[edit.start : edit.end] != edit.replacement]
