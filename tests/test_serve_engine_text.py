"""Detokenizer and stop strings: text that comes in pieces equals text that comes at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from align.detokenizer import Detokenizer
from align.pairs import token_ranges
from serve.engine.stopping import StopStrings

TEXTS = [
    "plain words, nothing else",
    "emoji 🙂👩‍👩‍👧‍👦🏳️‍🌈 between words",
    "图片里有一只猫。はい、そうです。",
    "é and e\u0301 and ß",
    " leading and  double spaces \n\n",
    "",
]


@cache
def tokenizer() -> Any:
    return tiny_models.tiny_tokenizer()


@cache
def byte_fallback() -> Any:
    return tiny_models.byte_fallback_tokenizer()


BOTH = pytest.mark.parametrize("make", [tokenizer, byte_fallback])


def pieces(ids: list[int], make: Callable[[], Any] = tokenizer) -> list[str]:
    detokenizer = Detokenizer(make())
    return [*(detokenizer.push(token_id) for token_id in ids), detokenizer.flush()]


def byte_ids(encoded: bytes) -> list[int]:
    return [int(byte_fallback().convert_tokens_to_ids(f"<0x{byte:02X}>")) for byte in encoded]


@BOTH
@pytest.mark.parametrize("text", TEXTS)
def test_joined_pieces_are_the_text_and_no_piece_holds_half_a_character(
    text: str, make: Callable[[], Any]
) -> None:
    emitted = pieces(make().encode(text * 4, add_special_tokens=False), make)
    assert "".join(emitted) == text * 4
    assert not any("\ufffd" in piece for piece in emitted)


@BOTH
@given(data=st.data())
def test_any_ids_decode_in_pieces_as_they_do_at_once(data: st.DataObject, make: Callable[[], Any]) -> None:
    ids = data.draw(st.lists(st.integers(0, len(make()) - 1), max_size=80))
    text, whole = "".join(pieces(ids, make)), make().decode(ids, skip_special_tokens=True)
    if make is tokenizer or "\ufffd" not in whole:
        assert text == whole


@BOTH
@given(data=st.data())
def test_what_is_learned_from_is_the_text_that_was_served(
    data: st.DataObject, make: Callable[[], Any]
) -> None:
    """Whole words, characters in several tokens, halves of them and bytes that are none."""
    special = set(make().all_special_ids)
    written = [make().encode(text, add_special_tokens=False) for text in ["ab", " ", "é", "猫", "🙂"]]
    plain = [[token_id] for token_id in range(len(make())) if token_id not in special]
    cut = [ids[:-1] for ids in written]
    parts = data.draw(st.lists(st.sampled_from(written) | st.sampled_from(cut) | st.sampled_from(plain)))
    ids = [token_id for part in parts for token_id in part]
    text = "".join(pieces(ids, make))
    ranges = token_ranges(ids, text, make())  # raises where they spell another
    assert len(ranges) == len(ids)
    assert {point for start, end in ranges for point in range(start, end)} == set(range(len(text)))


def test_an_answer_that_breaks_off_within_a_character_ends_as_decode_ends() -> None:
    ids = tokenizer().encode("a🙂", add_special_tokens=False)[:-1]
    emitted = pieces(ids)
    assert "".join(emitted) == tokenizer().decode(ids)
    assert "".join(emitted[:-1]) == "a"


@pytest.mark.parametrize("num_characters", [1, 12])
def test_half_a_character_takes_none_along_that_came_whole(num_characters: int) -> None:
    whole, half = byte_ids("图".encode()) * num_characters, byte_ids("图".encode()[:2])
    text = "图" * num_characters + "\ufffd" * 2
    assert "".join(pieces([*whole, *half], byte_fallback)) == text
    word = byte_fallback().encode("Two", add_special_tokens=False)
    assert "".join(pieces([*whole, *half, *word], byte_fallback)) == text + "Two"


def test_a_tokenizer_with_a_way_of_its_own_is_asked_as_it_wants() -> None:
    class Shouting(type(tokenizer())):  # type: ignore[misc]
        def _decode(self, *arguments: Any, **options: Any) -> str:
            return str(super()._decode(*arguments, **options)).upper()

    shouting = Shouting(tokenizer_object=tokenizer().backend_tokenizer)
    detokenizer = Detokenizer(shouting)
    ids = tokenizer().encode("a dog", add_special_tokens=False)
    assert "".join(map(detokenizer.push, ids)) == "A DOG"


def test_special_tokens_have_no_text() -> None:
    assert pieces([2, 3, 4]) == ["", "", "", ""]


def through(stop: tuple[str, ...], parts: list[str]) -> tuple[str, bool]:
    strings = StopStrings(stop)
    text = "".join(strings.push(part) for part in parts)
    return text + strings.flush(), strings.is_met


@pytest.mark.parametrize("stop", ["END", "\n\n", "。", "aab"])
def test_a_stop_string_is_cut_wherever_the_text_is_split(stop: str) -> None:
    text = "aaEN aaa" + stop + " more" + stop
    expected = text[: text.index(stop)]
    for first in range(len(text)):
        for second in range(first, len(text)):
            parts = [text[:first], text[first:second], text[second:]]
            assert through((stop,), parts) == (expected, True)


def test_nothing_of_a_stop_string_is_emitted_while_it_may_still_come() -> None:
    strings = StopStrings(("STOP",))
    assert [strings.push(part) for part in ("go S", "TO", "x STO", "P no")] == ["go ", "", "STOx ", ""]
    assert strings.is_met
    assert strings.push("after") == ""


def test_text_that_only_began_like_a_stop_string_comes_at_the_end() -> None:
    assert through(("STOP",), ["so S", "TO"]) == ("so STO", False)


def test_the_stop_string_that_is_complete_first_wins() -> None:
    assert through(("bcd", "c"), ["abcd"]) == ("ab", True)
    assert through(("abc", "bc"), ["xabc"]) == ("x", True)


def test_empty_stop_strings_stop_nothing() -> None:
    assert through(("",), ["ab", "c"]) == ("abc", False)


@given(
    st.lists(st.text("ab", max_size=4), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=3), max_size=3),
)
def test_the_pieces_never_matter(parts: list[str], stop: list[str]) -> None:
    one_by_one = list("".join(parts))
    assert through(tuple(stop), parts) == through(tuple(stop), one_by_one)
