"""A real browser on the page, as tests drive it. Any script error or breach of the page's policy fails its test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from served import Served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = (
    "needs Chromium: `make setup` installs it as root on Debian and Ubuntu; else `apt-get install chromium`"
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
DESKTOP, PHONE = {"width": 1100, "height": 800}, {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Any]:
    """Ends whole: a loop of playwright's that goes on would be in the way of tests that run their own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # root may not use Chromium's sandbox, and /dev/shm is small in containers
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@contextmanager
def visit(browser: Any, address: str, **context: Any) -> Iterator[Any]:
    """A page of a person of its own: no storage is shared with another one's."""
    person = browser.new_context(**{"viewport": DESKTOP, **context})
    person.set_default_timeout(30_000)
    page = person.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda line: "Content Security Policy" in line.text and troubles.append(line.text))
    page.goto(address)
    yield page
    person.close()
    assert not troubles, troubles


def ask(page: Any, question: str = "What is on the table?", picture: Path | None = None) -> None:
    """Ask in the chat, and wait for the answer that can be corrected."""
    answers = page.locator("errata-answer")
    before = answers.count()
    if picture is not None:
        page.set_input_files("input[type=file]", picture)
        page.locator(".chosen img").wait_for()
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    answers.nth(before).wait_for()


def stored(served: Served, response_id: str | None = None) -> list[Any]:
    """The corrections that are on disk, the oldest first."""
    from align.state.wanted import Wanted

    found = served.store.corrections.matching(Wanted(response_id=response_id), 100)
    return [correction for correction, _ in reversed(found)]


class Hands:
    """A keyboard whose use is counted: a key or a chord is one action, and so is a word that is typed."""

    def __init__(self, page: Any) -> None:
        self._keyboard = page.keyboard
        self.num_actions = 0

    def press(self, keys: str) -> None:
        self.num_actions += 1
        self._keyboard.press(keys)

    def type(self, word: str) -> None:
        self.num_actions += 1
        self._keyboard.type(word)
