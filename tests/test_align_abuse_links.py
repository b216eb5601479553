"""Addresses that a correction puts into an answer, and what only looks like one."""

from __future__ import annotations

import time

import pytest

from align.abuse.links import inserted_links

SERVED = "A red cup stands on the table."


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/a?b=c",
        "HTTP://EVIL.EXAMPLE",
        "ftp://files.example",
        "www.evil.example/page",
        "evil-shop.com",
        "cheap.cups.shop/now",
        "mailto:a@evil.example",
        "javascript:alert",
        "tel:+4912345",
        "someone@evil.example",
        "10.0.0.1:8080/x",
        "ｅｖｉｌ.com",
        "...evil.com",
        "a..evil.com",
        "-evil.com",
        "1https://evil.example",
        ".someone@evil.example",
    ],
)
def test_an_address_is_found_wherever_it_stands(link: str) -> None:
    for corrected in (f"{SERVED} See {link}.", f"{link} {SERVED}", SERVED.replace("red", f"({link})")):
        assert len(inserted_links(SERVED, corrected)) == 1, corrected


@pytest.mark.parametrize(
    "corrected",
    [
        "A blue cup stands on the table.",
        "Two cups (e.g. blue ones) stand on the table at 10.30 a.m.",
        "The sign says 3.5 km, i.e. 2.2 miles: far.",
        "A cup stands on the table.The fork lies beside it.",
        "The clock shows 12:45; the score is 3:2.",
    ],
)
def test_prose_holds_no_address(corrected: str) -> None:
    assert inserted_links(SERVED, corrected) == []


@pytest.mark.parametrize("piece", ["a.", "a-", "a+", "a@", "1.", "a:/", "www."])
def test_a_long_hostile_text_is_looked_through_in_no_time(piece: str) -> None:
    """From every place anew, the first of these would take minutes."""
    started = time.process_time()
    inserted_links(SERVED, piece * 100_000)
    assert time.process_time() - started < 10


def test_an_address_that_was_served_was_not_inserted() -> None:
    served = "The poster says www.museum.example."
    assert inserted_links(served, "The red poster says www.museum.example!") == []
    assert inserted_links(served, "The poster says www.other.example.") == ["www.other.example"]
