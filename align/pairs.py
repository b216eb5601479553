"""A correction as token ids: what was served (rejected) and what should have been (chosen), and which tokens changed.

Knows tokenizers but no model. Spans and tokens meet through code points: each token is given the range of the text
that it spells, whatever bytes it is made of.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from .config import Weighting
from .detokenizer import Detokenizer
from .errors import InvalidSpans, UnfitPair
from .examples import Example
from .spans import Span, apply_spans, ordered
from .weighting import differing_tokens

Range = tuple[int, int]  # code points [start, end)


@dataclass(frozen=True)
class Answer:
    """Token ids of one answer, and for each whether a correction touched it."""

    token_ids: tuple[int, ...]
    is_corrected: tuple[bool, ...]

    def __post_init__(self) -> None:
        assert len(self.token_ids) == len(self.is_corrected)


@dataclass(frozen=True)
class Pair:
    example_id: str
    chosen: Answer
    rejected: Answer


def make_pair(
    example: Example, tokenizer: Any, eos_token_ids: Collection[int], weighting: Weighting = "paper"
) -> Pair:
    """The pair of a corrected example; both sides are the same tokens up to the first edit.

    `weighting` says which tokens count as corrected: see `ObjectiveConfig`. `tokenizer` is a transformers tokenizer
    with a Rust backend. Raises `UnfitPair` if nothing changed, or if the tokenizer cannot spell one of the texts.
    """
    spans = _checked_spans(example)
    body, end = _served(example, tokenizer, eos_token_ids)
    if not (*body, *end):
        raise UnfitPair(
            f"correction {example.id} is of an answer without a word, so there is nothing to avoid"
        )
    served_ranges = token_ranges(body, example.served_text, tokenizer)
    corrected_ids = tokenizer.encode(example.corrected_text, add_special_tokens=False)
    corrected_ranges = token_ranges(corrected_ids, example.corrected_text, tokenizer)

    num_kept, num_skipped = _common_boundary(served_ranges, corrected_ranges, spans[0].start)
    chosen_ids = (*body[:num_kept], *corrected_ids[num_skipped:])
    chosen_ranges = [*served_ranges[:num_kept], *corrected_ranges[num_skipped:]]
    if not chosen_ids:
        raise UnfitPair(f"correction {example.id} leaves no words; an empty answer is not to be learned")
    chosen_tokens, rejected_tokens = (*chosen_ids, *end), (*body, *end)
    if weighting == "released":
        marks = differing_tokens(chosen_tokens, rejected_tokens)
    else:
        removed = [(span.start, span.end) for span in spans]
        marks = _touched(chosen_ranges, inserted_ranges(spans), end), _touched(served_ranges, removed, end)
    return Pair(example.id, Answer(chosen_tokens, marks[0]), Answer(rejected_tokens, marks[1]))


def token_ranges(token_ids: Sequence[int], text: str, tokenizer: Any) -> list[Range]:
    """The code points that each token spells. Tokens that share a character all get the whole of it.

    Raises `UnfitPair` if the tokens do not spell `text`.
    """
    special = set(tokenizer.all_special_ids)
    if not special.isdisjoint(token_ids):
        raise UnfitPair("the answer holds special tokens; only plain text can be learned")
    spelled, ranges = _read(token_ids, tokenizer)
    if spelled != text:
        # without a word of either: it stays in reports when the answer is long erased
        both = zip(spelled, text, strict=False)
        at = next((at for at, (one, other) in enumerate(both) if one != other), min(len(spelled), len(text)))
        raise UnfitPair(
            f"the answer's tokens spell {len(spelled)} code points and its text has {len(text)}; they differ from "
            f"number {at} on"
        )
    return ranges


def _read(token_ids: Sequence[int], tokenizer: Any) -> tuple[str, list[Range]]:
    """Their text as it is served, but with special tokens in it, and what of it each token spells."""
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
    text = ""
    ranges: list[Range] = []
    num_waiting = 0
    for token_id in token_ids:
        num_waiting += 1
        if piece := detokenizer.push(token_id):
            ranges += [(len(text), len(text) + len(piece))] * num_waiting
            text, num_waiting = text + piece, 0
    whole = text + detokenizer.flush()
    return whole, ranges + [(len(text), len(whole))] * num_waiting  # an answer cut inside a character


def inserted_ranges(spans: Sequence[Span]) -> list[Range]:
    """Where each replacement stands in the corrected text. `spans` are ordered."""
    ranges = []
    shift = 0
    for span in spans:
        start = span.start + shift
        ranges.append((start, start + len(span.replacement)))
        shift += len(span.replacement) - (span.end - span.start)
    return ranges


def _checked_spans(example: Example) -> list[Span]:
    if not example.spans or example.corrected_text == example.served_text:
        raise UnfitPair(f"correction {example.id} changes nothing, so there is nothing to prefer")
    try:
        spans = ordered(example.served_text, example.spans)
    except InvalidSpans as error:
        raise UnfitPair(f"correction {example.id}: {error}") from error
    if apply_spans(example.served_text, spans) != example.corrected_text:
        raise UnfitPair(f"correction {example.id}: its spans do not give its corrected text")
    return spans


def _served(
    example: Example, tokenizer: Any, eos_token_ids: Collection[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens of the served text, and its end. Where a stop string ended it, they spell that as well, which nobody
    was told: without it they have no end. A token that spells the text's last words and the stop string's first is
    written anew.
    """
    token_ids, text = example.served_token_ids, example.served_text
    if token_ids and token_ids[-1] in eos_token_ids:
        return token_ids[:-1], token_ids[-1:]
    spelled, ranges = _read(token_ids, tokenizer)
    if spelled == text or not spelled.startswith(text):
        return token_ids, ()
    boundaries = _boundaries(ranges)
    last = max(at for at in boundaries if at <= len(text))
    rest = tokenizer.encode(text[last:], add_special_tokens=False) if last < len(text) else []
    body = (*token_ids[: boundaries[last]], *rest)
    if _read(body, tokenizer)[0] == text:
        return body, ()
    return tuple(tokenizer.encode(text, add_special_tokens=False)), ()  # which writes a word's rest as a word


def _common_boundary(served: Sequence[Range], corrected: Sequence[Range], first_edit: int) -> tuple[int, int]:
    """How many tokens of each side come before the last boundary that both have, at or before the first edit.

    Only there may the corrected text's own tokens follow the served ones: from anywhere else they would be
    tokens that no tokenizer writes, such as " red" + "dish".
    """
    corrected_at = _boundaries(corrected)
    served_at = _boundaries(served)
    position = max(at for at in served_at.keys() & corrected_at.keys() if at <= first_edit)
    return served_at[position], corrected_at[position]


def _boundaries(ranges: Sequence[Range]) -> dict[int, int]:
    """Code point -> number of tokens that end at or before it, for each place between two tokens."""
    boundaries = {0: 0}
    for index, (_, end) in enumerate(ranges):
        if index + 1 == len(ranges) or ranges[index + 1][0] >= end:
            boundaries[end] = index + 1
    return boundaries


def _touched(ranges: Sequence[Range], edits: Sequence[Range], end: tuple[int, ...]) -> tuple[bool, ...]:
    """Eq. 5's reading: every token that an edit touches on this side, and never the end."""
    # an empty edit inside a token touches it too: the other side's words split what this one token says
    touched = (any(start < e_end and e_start < stop for e_start, e_end in edits) for start, stop in ranges)
    return (*touched, *(False for _ in end))
