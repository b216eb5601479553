"""Edits between lists of words: difflib's own where they are cheap, exact everywhere, never dearer than promised."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align import word_diff
from align.spans import apply_spans, diff_spans
from align.word_diff import MAX_STEPS, opcodes

WORDS = st.lists(st.sampled_from(["a", "b", "c", " ", "\n", "."]), max_size=30)
NUM = 4000
HOSTILE = {
    "the same word": ("a " * NUM, "a " * NUM + "b"),
    "the same word with another in the middle": ("a " * NUM, "a " * (NUM // 2) + "b " + "a " * (NUM // 2)),
    "nothing in common but the spaces": (
        " ".join(chr(0x4E00 + n) for n in range(NUM)),
        " ".join(chr(0x6E00 + n) for n in range(NUM)),
    ),
    "two words in turn": ("a b " * NUM, "b a " * NUM),
    "runs that grow": (" ".join("a" * n for n in range(190)) * 2, "a ".join("a" * n for n in range(190))),
    "no spaces": ("." * 2 * NUM, "." * NUM + "!" + "." * NUM),
}


def applied(left: list[str], right: list[str], edits: list[word_diff.Opcode]) -> list[str]:
    """`right`, made from `left`; checks that the edits follow one another and say what they are."""
    result: list[str] = []
    at = (0, 0)
    for tag, i1, i2, j1, j2 in edits:
        assert (i1, j1) == at
        at = (i2, j2)
        assert (tag == "equal") == (left[i1:i2] == right[j1:j2])
        result += left[i1:i2] if tag == "equal" else right[j1:j2]
    assert at == (len(left), len(right))
    return result


@given(WORDS, WORDS)
def test_short_texts_have_the_edits_of_difflib(left: list[str], right: list[str]) -> None:
    assert opcodes(left, right) == SequenceMatcher(None, left, right, autojunk=False).get_opcodes()


@given(WORDS, WORDS, st.integers(0, 200))
def test_edits_are_exact_however_little_may_be_spent(left: list[str], right: list[str], steps: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_diff, "MAX_STEPS", steps)
        assert applied(left, right, opcodes(left, right)) == right


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many positions difflib has looked at, counted where it does."""
    counted = [0]

    class Counted(list[int]):
        def __iter__(self) -> Iterator[int]:
            for position in super().__iter__():
                counted[0] += 1
                yield position

    chain = SequenceMatcher._SequenceMatcher__chain_b  # type: ignore[attr-defined]  # where positions are listed

    def chain_and_count(self: SequenceMatcher[str]) -> None:
        chain(self)
        self.b2j = {word: Counted(positions) for word, positions in self.b2j.items()}

    monkeypatch.setattr(SequenceMatcher, "_SequenceMatcher__chain_b", chain_and_count)
    return counted


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_cost_no_more_than_promised(name: str, steps: list[int]) -> None:
    served, corrected = HOSTILE[name]
    assert apply_spans(served, diff_spans(served, corrected)) == corrected
    assert steps[0] <= 2 * MAX_STEPS


def test_the_count_is_of_what_difflib_does(steps: list[int]) -> None:
    SequenceMatcher(None, "a" * 100, "a" * 100, autojunk=False).get_opcodes()
    assert steps[0] == 100 * 100


@pytest.mark.parametrize("at", [0, 1999, 3999])
def test_one_word_in_a_long_text_is_found_by_itself(at: int) -> None:
    words = ["a"] * NUM
    served, corrected = " ".join(words), " ".join([*words[:at], "b", *words[at + 1 :]])
    spans = diff_spans(served, corrected)
    assert [(span.start, span.end, span.replacement) for span in spans] == [(2 * at, 2 * at + 1, "b")]


def test_two_words_far_apart_in_a_long_text_are_two_edits() -> None:
    words = [f"word{n % 900}" for n in range(2500)]
    changed = list(words)
    changed[3], changed[2400] = "blue", "three"
    spans = diff_spans(" ".join(words), " ".join(changed))
    assert [span.replacement for span in spans] == ["blue", "three"]
