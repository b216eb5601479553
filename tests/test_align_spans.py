from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.errors import InvalidSpans
from align.spans import Span, apply_spans, diff_spans, edit_ratio, ordered

PIECES = ("a", "b", " ", "\n", ".", "é", "e\u0301", "猫", "语", "🙂", "👩\u200d🚀", "\u0301")
"""One code point or several that belong together: composed, combining, joined, wide."""
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@st.composite
def served_and_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text and spans that do not overlap, each changing something."""
    served = draw(TEXTS)
    cuts = sorted(draw(st.sets(st.integers(0, len(served)), max_size=6)))
    pieces = list(zip(cuts[::2], cuts[1::2], strict=False))
    spans = [Span(start, end, draw(TEXTS)) for start, end in pieces]
    return served, [span for span in spans if served[span.start : span.end] != span.replacement]


@given(TEXTS, TEXTS)
def test_the_spans_of_a_diff_give_the_corrected_text_back(served: str, corrected: str) -> None:
    assert apply_spans(served, diff_spans(served, corrected)) == corrected


@given(TEXTS)
def test_an_unchanged_text_has_no_spans(text: str) -> None:
    assert diff_spans(text, text) == []


@given(served_and_spans())
def test_spans_give_a_text_whose_diff_gives_it_again(case: tuple[str, list[Span]]) -> None:
    served, spans = case
    corrected = apply_spans(served, spans)
    assert apply_spans(served, diff_spans(served, corrected)) == corrected
    back = [
        Span(start, start + len(span.replacement), served[span.start : span.end])
        for span, start in zip(spans, _starts(spans), strict=True)
    ]
    assert apply_spans(corrected, back) == served


def _starts(spans: list[Span]) -> list[int]:
    """Where each replacement begins in the corrected text."""
    grown = [len(span.replacement) - (span.end - span.start) for span in spans]
    return [span.start + sum(grown[:number]) for number, span in enumerate(spans)]


@given(served_and_spans(), st.randoms())
def test_the_order_of_spans_does_not_matter(case: tuple[str, list[Span]], random: object) -> None:
    served, spans = case
    shuffled = list(spans)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert apply_spans(served, shuffled) == apply_spans(served, spans)


@given(served_and_spans())
def test_applying_spans_replaces_each_piece_and_keeps_the_rest(case: tuple[str, list[Span]]) -> None:
    served, spans = case
    expected = served
    for span in reversed(spans):  # from the right, offsets stay valid
        expected = expected[: span.start] + span.replacement + expected[span.end :]
    assert apply_spans(served, spans) == expected


def test_offsets_count_code_points_and_not_bytes() -> None:
    assert apply_spans("猫🙂 is red", [Span(6, 9, "blue")]) == "猫🙂 is blue"


def test_a_diff_changes_whole_words() -> None:
    assert diff_spans("a red ball", "a reddish ball") == [Span(2, 5, "reddish")]


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([Span(2, 5, "x"), Span(4, 6, "y")], "overlap"),
        ([Span(3, 3, "x"), Span(3, 3, "y")], "overlap"),
        ([Span(8, 11, "x")], "outside"),
        ([Span(-1, 2, "x")], "outside"),
        ([Span(5, 2, "x")], "outside"),
        ([Span(2, 5, "red")], "changes nothing"),
        ([Span(2, 2, "")], "changes nothing"),
        ([Span(2, 5, "blue", "smell")], "unknown kind"),
    ],
)
def test_spans_that_do_not_fit_are_refused_with_the_reason(spans: list[Span], reason: str) -> None:
    with pytest.raises(InvalidSpans, match=reason):
        ordered("a red ball", spans)


def test_an_insertion_may_touch_a_replacement() -> None:
    assert apply_spans("a red ball", [Span(2, 2, "big "), Span(2, 5, "blue")]) == "a big blue ball"


def test_the_edit_ratio_counts_what_was_removed_and_what_was_inserted() -> None:
    assert edit_ratio("a red ball", [Span(2, 5, "blue")]) == pytest.approx(0.7)
    assert edit_ratio("", [Span(0, 0, "ab")]) == 2.0
