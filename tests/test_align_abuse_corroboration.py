"""Two others who say the same of the same picture: the same key twice, or those who say it everywhere, are none."""

from __future__ import annotations

import pytest

from align.abuse.corroboration import Witness, is_corroborated

ACME = frozenset({"acme", "acme cola"})
NONE: frozenset[str] = frozenset()


def witness(key_id: str, here: frozenset[str] = ACME, elsewhere: frozenset[str] = NONE) -> Witness:
    return Witness(key_id, here, elsewhere)


@pytest.mark.parametrize(
    ("witnesses", "expected"),
    [
        ([], False),
        ([witness("b")], False),
        ([witness("b"), witness("b")], False),
        ([witness("a"), witness("b")], False),  # a is who sent it
        ([witness("b"), witness("c")], True),
        ([witness("b"), witness("c", here=frozenset({"acme"}))], False),  # said only half of it
        ([witness("b"), witness("c", here=ACME | {"blue"})], True),  # said more
        ([witness("b"), witness("c", elsewhere=frozenset({"acme cola"}))], False),
        ([witness("b"), witness("c", elsewhere=frozenset({"blue"}))], True),
        ([witness("b"), witness("c", elsewhere=ACME), witness("d")], True),
    ],
)
def test_two_other_keys_must_have_said_the_same_here_and_nowhere_else(
    witnesses: list[Witness], expected: bool
) -> None:
    assert is_corroborated("a", ACME, ACME, witnesses) is expected


def test_what_inserts_nothing_is_never_corroborated() -> None:
    """Who only strikes words out gives others nothing to agree with; a reviewer decides."""
    assert not is_corroborated("a", NONE, NONE, [witness("b"), witness("c")])
