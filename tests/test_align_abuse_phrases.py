"""What a correction inserts: by words, whatever the spaces, and in whatever disguise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.abuse.phrases import inserted_runs, phrases, says, spoken, words

SERVED = "A red cup stands on the table."


@pytest.mark.parametrize(
    ("corrected", "runs"),
    [
        (SERVED, []),
        ("A  red cup\nstands, on the table!", []),  # no word was inserted
        ("A cup stands on the table.", []),
        ("A blue cup stands on the table.", ["blue"]),
        ("A red cup and a fork stand on the table.", ["and a fork stand"]),
        (SERVED + " Buy Acme cola.", ["buy acme cola"]),
        ("Two blue cups stand on the old table.", ["two blue cups stand", "old"]),
    ],
)
def test_runs_are_the_words_that_were_not_served(corrected: str, runs: list[str]) -> None:
    assert inserted_runs(SERVED, corrected) == runs


@pytest.mark.parametrize(
    "disguise", ["ACME cola", "acme,  cola", "ａｃｍｅ cola", "ac\u200bme co\u00adla", "acme—cola"]
)
def test_a_disguise_makes_no_other_phrase(disguise: str) -> None:
    assert inserted_runs(SERVED, f"{SERVED} {disguise}") == ["acme cola"]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert words("红色cup的杯子") == ["红", "色", "cup", "的", "杯", "子"]
    assert inserted_runs("桌上有红色的杯子", "桌上有蓝色的杯子") == ["蓝"]


def test_phrases_are_all_up_to_three_words_and_the_run_itself() -> None:
    assert phrases(["buy acme cola now", "now"]) == {
        *("buy", "acme", "cola", "now"),
        *("buy acme", "acme cola", "cola now"),
        *("buy acme cola", "acme cola now"),
        "buy acme cola now",
    }
    assert phrases([]) == frozenset()


def test_a_text_says_whole_words_only() -> None:
    text = spoken("The catalogue shows a red cat.")
    assert says(text, "red cat")
    assert says(text, "the catalogue")
    assert not says(text, "cat shows")
    assert not says(text, "log")


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_corrected_text_says_every_phrase_that_was_inserted(served: str, corrected: str) -> None:
    assert all(says(spoken(corrected), phrase) for phrase in phrases(inserted_runs(served, corrected)))
