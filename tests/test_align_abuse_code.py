"""What looks like code in a correction, and prose that must not."""

from __future__ import annotations

import time

import pytest

from align.abuse.code import inserted_code

SERVED = "A red cup stands on the table."


@pytest.mark.parametrize(
    "code",
    [
        "```python",
        "[cup](x)",
        "![](x)",
        "<script>",
        "<img src=x onerror=go>",
        "</b>",
        "os.system(",
        "...os.system(",
        "1.os.system(",
        "eval(x)",
        "import os",
        "rm -rf /",
        "curl -s x",
        "DROP TABLE cups",
        "{{ system }}",
        "$(id)",
        "<|assistant|>",
        "＜script＞",
    ],
)
def test_code_is_found_wherever_it_stands(code: str) -> None:
    for corrected in (f"{SERVED} {code} ", f"{code} {SERVED}"):
        assert inserted_code(SERVED, corrected), corrected


@pytest.mark.parametrize("piece", ["a.", "a", "a-", "<a ", "{", "$", "`"])
def test_a_long_hostile_text_is_looked_through_in_no_time(piece: str) -> None:
    """From every place anew, the first of these would take minutes."""
    started = time.process_time()
    inserted_code(SERVED, piece * 100_000)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "corrected",
    [
        "A blue cup (chipped) stands on the table.",
        "The cup(s) stand on the table & on the shelf.",
        "5 < 6 cups > 4; it costs $3.",
        "A sign reads [closed] and another {open}.",
        "People import cups from China; a system of shelves.",
        "Cups, forks, etc. (all blue) stand there.",
    ],
)
def test_prose_is_no_code(corrected: str) -> None:
    assert inserted_code(SERVED, corrected) == []


def test_code_that_was_served_was_not_inserted() -> None:
    served = "The screen shows <html>."
    assert inserted_code(served, "The blue screen shows <html>.") == []
