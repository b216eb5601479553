"""Who a correction counts as coming from: nobody becomes many by naming many authors."""

from __future__ import annotations

import pytest

from align.abuse.source import source_of
from align.state import Key


def key(*scopes: str) -> Key:
    return Key("key-1", 0.0, "app", "sha256", list(scopes))


def test_an_author_counts_only_where_the_key_may_name_authors() -> None:
    assert source_of(key("chat", "feedback"), "ada") == "key-1"
    assert source_of(key("feedback", "authors"), "ada") == "key-1/ada"
    assert source_of(key("admin"), "ada") == "key-1/ada"


@pytest.mark.parametrize("scope", ["feedback", "authors"])
def test_without_an_author_the_key_is_the_source(scope: str) -> None:
    assert source_of(key(scope), None) == "key-1"
