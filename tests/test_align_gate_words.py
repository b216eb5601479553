"""What texts say, word by word: coverage, readability, and whether corrected-away words come back."""

from __future__ import annotations

import pytest

from align.conversation import Conversation
from align.examples import Example
from align.gate.segments import Segment, removed_segments
from align.gate.words import coverage, is_readable, undisputed_words, words
from align.spans import Span, apply_spans


def corrected(served: str, *spans: Span) -> Example:
    return Example("e", Conversation(()), {}, served, (), apply_spans(served, spans), spans)


def span(served: str, removed: str, replacement: str, kind: str = "other") -> Span:
    start = served.index(removed)
    return Span(start, start + len(removed), replacement, kind)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red cup, it's Ünder!", ["a", "red", "cup", "it", "s", "ünder"]),
        ("图片里有 2 cats", ["图", "片", "里", "有", "2", "cats"]),
        ("ネコ がいる", ["ネ", "コ", "が", "い", "る"]),
        ("고양이 한", ["고", "양", "이", "한"]),
        ("🙂 ...", []),
    ],
)
def test_scripts_without_spaces_are_read_character_by_character(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_undisputed_words_are_those_outside_the_spans() -> None:
    served = "A red cup and a dog."
    assert undisputed_words(corrected(served, span(served, "red", "blue"))) == {"a", "cup", "and", "dog"}


def test_coverage_counts_each_undisputed_word_once() -> None:
    assert coverage("The dog, the cup!", {"dog", "cup", "lamp", "the"}) == 0.75
    assert coverage("", {"dog"}) == 0.0
    assert coverage("anything", set()) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There is a red cup on the left and a green lamp on the right of the table.", True),
        ("No.", True),
        ("Yes, yes, yes!", True),
        ("", False),
        (" \n.", False),
        ("a cup " * 20, False),
        ("There is a cup. " + "the the " * 12, False),
        ("\ufffd\ufffd\ufffd cup \ufffd\ufffd", False),
    ],
)
def test_empty_broken_and_stuck_answers_are_not_readable(text: str, expected: bool) -> None:
    assert is_readable(text) is expected


def test_a_removed_word_that_is_true_nowhere_comes_back_wherever_it_is_said() -> None:
    served = "There is a dog on the left."
    (segment,) = removed_segments(corrected(served, span(served, "dog", "cat", "object")))
    assert segment == Segment("object", frozenset({("dog",)}))
    assert segment.is_in("On the left a DOG sits.")
    assert not segment.is_in("On the left a cat sits; no dogs.")


def test_a_removed_word_that_is_true_elsewhere_is_known_by_its_neighbours() -> None:
    served = "A red cup and a red lamp."
    (segment,) = removed_segments(corrected(served, span(served, "red", "blue", "attribute")))
    assert segment.phrases == {("red", "cup")}
    assert segment.is_in("I see a red cup.")
    assert not segment.is_in("I see a blue cup and a red lamp.")


def test_two_neighbours_tell_what_one_cannot() -> None:
    served = "on the left a cup and on the right the left one"
    removed = Span(3, 11, "the right")  # the first "the left"; "the left" stands later, too
    (segment,) = removed_segments(corrected(served, removed))
    assert segment.phrases == {("left", "a")}


def test_a_removed_sentence_comes_back_in_other_words_when_half_of_it_does() -> None:
    served = "There is a cup. A boat sails far away."
    (segment,) = removed_segments(corrected(served, span(served, " A boat sails far away.", "", "object")))
    assert segment.phrases == {("boat",), ("sails",), ("far",), ("away",)}
    assert segment.is_in("Far out there is a boat.")
    assert not segment.is_in("Far out there is a cup.")


def test_insertions_and_removed_signs_leave_nothing_to_look_for() -> None:
    served = "A cup, a lamp."
    assert removed_segments(corrected(served, Span(5, 5, " and a plate"))) == []
    assert removed_segments(corrected(served, Span(5, 6, ";"))) == []


def test_what_the_corrected_text_says_itself_cannot_be_told_from_the_truth() -> None:
    served = "no no no no no no"
    assert removed_segments(corrected(served, Span(0, 3, ""))) == []


def test_each_span_is_a_segment_of_its_kind() -> None:
    served = "Two cups and a dog."
    spans = span(served, "Two cups", "A cup", "number"), span(served, "dog", "cat", "object")
    segments = removed_segments(corrected(served, *spans))
    assert [segment.kind for segment in segments] == ["number", "object"]
    assert [segment.is_in("There are two cups and a cat.") for segment in segments] == [True, False]
