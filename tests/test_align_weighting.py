from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from test_align_pairs import TOKENIZER, corrected_example, corrected_text

from align.pairs import make_pair
from align.spans import Span
from align.weighting import differing_tokens

END = 2


def marked(tokens: list[str], flags: tuple[bool, ...]) -> list[str]:
    return [token for token, flag in zip(tokens, flags, strict=True) if flag]


def released(chosen: str, rejected: str) -> tuple[list[str], list[str]]:
    """The marked words of each side, a word being a token."""
    numbers: dict[str, int] = {}
    left, right = chosen.split(), rejected.split()
    ids = [[numbers.setdefault(word, len(numbers)) for word in side] for side in (left, right)]
    flags = differing_tokens(*ids)
    return marked(left, flags[0]), marked(right, flags[1])


def test_a_replaced_word_is_marked_on_both_sides() -> None:
    chosen, rejected = released("there is a green cup on the table", "there is a red cup on the table")
    assert (chosen, rejected) == (["green"], ["red"])


def test_fewer_than_three_shared_tokens_between_two_edits_count_as_changed() -> None:
    chosen, rejected = released(
        "a green cup and a blue boat on the sea", "a red cup and a pink boat on the sea"
    )
    assert chosen == ["green", "blue"], "'cup and a' are three tokens"
    assert rejected == ["red", "pink"]
    chosen, rejected = released(
        "a green cup and blue boats on the sea", "a red cup and pink boats on the sea"
    )
    assert chosen == ["green", "cup", "and", "blue"], "'cup and' are two"
    assert rejected == ["red", "cup", "and", "pink"]


def test_a_pure_deletion_or_insertion_weighs_nothing_extra() -> None:
    assert released("a cup on the table", "a cup and a dog on the table") == ([], [])
    assert released("a cup and a dog on the table", "a cup on the table") == ([], [])


def test_a_shared_start_of_any_length_goes_with_the_prompt() -> None:
    assert released("a green cup on the table", "a red cup on the table") == (["green"], ["red"])
    assert released("green cup on the table", "red cup on the table") == (["green"], ["red"])


def test_a_short_shared_end_counts_as_changed() -> None:
    assert released("on the table a green cup", "on the table a red cup") == (
        ["green", "cup"],
        ["red", "cup"],
    )


def test_answers_with_nothing_in_common_are_marked_whole() -> None:
    assert released("one two", "three four five") == (["one", "two"], ["three", "four", "five"])


def test_the_two_variants_differ_where_a_person_only_struck_words() -> None:
    example = corrected_example("a dog, and a cat stand on the table", Span(5, 16, ""))
    paper, code = (make_pair(example, TOKENIZER, [END], name) for name in ("paper", "released"))
    assert corrected_text(paper.rejected) == ", and a cat"
    assert not any(code.rejected.is_corrected)
    assert (code.chosen.token_ids, code.rejected.token_ids) == (
        paper.chosen.token_ids,
        paper.rejected.token_ids,
    )


def test_the_released_variant_marks_what_differs_and_not_what_the_spans_say() -> None:
    # the person's span holds "stand" too, which did not change
    example = corrected_example("Two red cups stand on the green table.", Span(4, 18, "blue cups stand"))
    paper, code = (make_pair(example, TOKENIZER, [END], name) for name in ("paper", "released"))
    assert corrected_text(paper.rejected) == " red cups stand"
    assert corrected_text(code.rejected) == " red"
    assert corrected_text(code.chosen) == " blue"


@given(st.lists(st.integers(0, 5), max_size=30), st.lists(st.integers(0, 5), max_size=30))
def test_marked_tokens_are_on_both_sides_or_on_none(chosen: list[int], rejected: list[int]) -> None:
    left, right = differing_tokens(chosen, rejected)
    assert (len(left), len(right)) == (len(chosen), len(rejected))
    assert any(left) == any(right)
    assert not any(differing_tokens(chosen, chosen)[0])
