"""A correction as spans of the served text, or as the corrected text: each gives the other.

Knows nothing about tokens or models. Offsets count Unicode code points of the served text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import InvalidSpans
from .word_diff import opcodes

KINDS = ("object", "attribute", "position", "number", "action", "text", "other")


@dataclass(frozen=True)
class Span:
    """Replace `served[start:end]` with `replacement`. Empty on the left: an insertion; right: a deletion."""

    start: int
    end: int
    replacement: str
    kind: str = "other"


def apply_spans(served: str, spans: Iterable[Span]) -> str:
    """The corrected text. Raises `InvalidSpans` where spans overlap, run past the text or change nothing."""
    pieces: list[str] = []
    position = 0
    for span in ordered(served, spans):
        pieces += [served[position : span.start], span.replacement]
        position = span.end
    return "".join([*pieces, served[position:]])


def ordered(served: str, spans: Iterable[Span]) -> list[Span]:
    """The spans by position, checked against the served text."""
    result = sorted(spans, key=lambda span: (span.start, span.end))
    previous: Span | None = None
    for span in result:
        if not 0 <= span.start <= span.end <= len(served):
            raise InvalidSpans(
                f"span {span.start}-{span.end} is outside the served text of {len(served)} code points"
            )
        if served[span.start : span.end] == span.replacement:
            raise InvalidSpans(f"span {span.start}-{span.end} changes nothing; leave it out")
        if span.kind not in KINDS:
            raise InvalidSpans(f"unknown kind {span.kind!r}; one of {', '.join(KINDS)}")
        if previous is not None and (
            span.start < previous.end or (span.start, span.end) == (previous.start, previous.end)
        ):
            raise InvalidSpans(f"spans {previous.start}-{previous.end} and {span.start}-{span.end} overlap")
        previous = span
    return result


def diff_spans(served: str, corrected: str) -> list[Span]:
    """The word-level edits from `served` to `corrected`; `apply_spans` of them gives it back exactly."""
    left, right = _words(served), _words(corrected)
    starts = [0]
    for word in left:
        starts.append(starts[-1] + len(word))
    return [
        Span(starts[i1], starts[i2], "".join(right[j1:j2]))
        for tag, i1, i2, j1, j2 in opcodes(left, right)
        if tag != "equal"
    ]


def edit_ratio(served: str, spans: Sequence[Span]) -> float:
    """Changed code points, removed and inserted, over the length of the served text (at least one)."""
    changed = sum(span.end - span.start + len(span.replacement) for span in spans)
    return changed / max(len(served), 1)


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)
