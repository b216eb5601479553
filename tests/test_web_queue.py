"""The queue, in real browsers: nobody gets what another one looks at, and what is held back is settled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium, needs_chromium, stored, visit
from fake_engine import FakeEngine
from records import correction
from served import Served, listening, serving, wait_until
from sqlalchemy import select

from align.state import schema
from align.state.claims import Holder
from serve.api.door import ANONYMOUS

pytestmark = needs_chromium
HOSTILE = "<b onmouseover='window.hacked=1'>Mallory</b>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, FakeEngine(max_model_len=4096)) as served:
        yield served


@pytest.fixture
def address(served: Served) -> Iterator[str]:
    with listening(served) as address:
        yield address


def question(page: Any) -> str:
    page.locator(".queue-item").wait_for()
    return str(page.locator(".asked").inner_text())


def turn(page: Any, key: str) -> str:
    """The question of the answer that comes after a key."""
    before = question(page)
    page.keyboard.press(key)
    page.locator(".asked", has_not_text=before).wait_for()
    return question(page)


def test_arrows_turn_from_the_newest_answer_to_older_ones_and_back(
    browser: Any, served: Served, address: str
) -> None:
    for number in (1, 2, 3):
        served.respond(f"Question {number}?")
    with visit(browser, f"{address}/#/queue") as page:
        assert question(page) == "Question 3?"
        page.get_by_text("3 waiting").wait_for()
        assert turn(page, "ArrowRight") == "Question 2?"
        assert turn(page, "ArrowRight") == "Question 1?"
        page.keyboard.press("ArrowRight")
        page.get_by_text("No other answer that fits is free in this direction.", exact=False).wait_for()
        assert turn(page, "ArrowLeft") == "Question 2?"


def test_two_people_never_look_at_the_same_answer(browser: Any, served: Served, address: str) -> None:
    for number in (1, 2, 3):
        served.respond(f"Question {number}?")
    with visit(browser, f"{address}/#/queue") as ada, visit(browser, f"{address}/#/queue") as bob:
        assert question(ada) == "Question 3?"
        assert question(bob) == "Question 2?"
        assert turn(ada, "ArrowRight") == "Question 1?"
        assert turn(bob, "ArrowLeft") == "Question 3?"
        ada.goto(f"{address}/#/chat")  # gives back what it held
        ada.get_by_label("Your question").wait_for()
        bob.keyboard.press("ArrowRight")
        bob.keyboard.press("ArrowRight")
        assert turn(bob, "ArrowRight") in ("Question 1?", "Question 2?")


def holders(served: Served) -> dict[str, str]:
    """As `{response_id: name}`."""
    with served.store.database.read() as connection:
        return {row.response_id: row.holder for row in connection.execute(select(schema.claims))}


def test_who_comes_to_the_end_keeps_the_answer_that_is_shown(
    browser: Any, served: Served, address: str
) -> None:
    shown = served.respond("Question 1?")
    with visit(browser, f"{address}/#/queue") as page:
        assert question(page) == "Question 1?"
        before = holders(served)
        page.keyboard.press("ArrowRight")
        page.get_by_text("No other answer that fits is free in this direction.", exact=False).wait_for()
        assert holders(served) == before
        assert before.keys() == {shown}


def test_who_comes_back_to_the_page_holds_its_answer_again(
    browser: Any, served: Served, address: str
) -> None:
    shown = served.respond("Question 1?")
    with visit(browser, f"{address}/#/queue") as page:
        assert question(page) == "Question 1?"
        leave_or_come = "name => dispatchEvent(new PageTransitionEvent(name, {persisted: true}))"
        page.evaluate(leave_or_come, "pagehide")
        wait_until(lambda: holders(served) == {})
        page.evaluate(leave_or_come, "pageshow")
        wait_until(lambda: holders(served).keys() == {shown})


def test_who_lost_an_answer_to_somebody_else_is_told(browser: Any, tmp_path: Path) -> None:
    with (
        serving(tmp_path, FakeEngine(max_model_len=4096), queue={"claim_s": 10.0}) as served,
        listening(served) as address,
    ):
        shown = served.respond("Question 1?")
        with visit(browser, f"{address}/#/queue") as page:
            assert question(page) == "Question 1?"
            claims = served.store.claims
            assert claims.release(Holder(ANONYMOUS.id, holders(served)[shown]), shown)
            claims.take(Holder(ANONYMOUS.id, "bob"), shown, now=time.time(), until=time.time() + 60)
            page.get_by_text("somebody else is looking at", exact=False).wait_for()
            assert question(page) == "Question 1?"
            assert holders(served) == {shown: "bob"}


def test_an_answer_is_corrected_in_the_queue_by_keys_and_the_next_one_comes(
    browser: Any, served: Served, address: str
) -> None:
    for number in (1, 2):
        served.respond(f"Question {number}?")
    with visit(browser, f"{address}/#/queue") as page:
        assert question(page) == "Question 2?"
        page.keyboard.press("e")
        page.keyboard.type("red")
        page.keyboard.press("Enter")
        page.keyboard.type("blue")
        page.keyboard.press("Alt+2")
        page.keyboard.press("ArrowLeft")  # moves the caret, not the queue
        page.keyboard.press("Control+Enter")
        page.locator(".stored").wait_for()
        assert turn(page, "ArrowRight") == "Question 1?"
        page.get_by_text("1 waiting").wait_for()
        page.keyboard.press("n")
        page.locator(".stored").wait_for()
    assert sorted(one.status for one in stored(served)) == ["accepted", "nothing_wrong"]


def test_filters_choose_by_version_day_and_whether_anybody_has_looked(
    browser: Any, served: Served, address: str
) -> None:
    seen = served.respond("Seen?")
    served.client.post("/feedback", json={"response_id": seen, "spans": []})
    served.respond("Unseen?")
    with visit(browser, f"{address}/#/queue") as page:
        assert question(page) == "Unseen?"
        page.get_by_text("1 waiting").wait_for()
        page.get_by_label("Not looked at yet").uncheck()
        page.get_by_text("2 waiting").wait_for()
        page.get_by_label("To", exact=True).fill("2020-01-01")
        page.get_by_text("Nothing is waiting for a look.").wait_for()
        page.get_by_label("To", exact=True).fill("")
        page.locator(".queue-item").wait_for()
        page.get_by_label("Version").select_option("base")
        page.locator(".queue-item").wait_for()


def test_a_filter_that_changes_while_an_answer_is_looked_for_counts(
    browser: Any, served: Served, address: str
) -> None:
    served.respond("Unseen?")
    held: list[Any] = []
    with visit(browser, f"{address}/#/queue") as page:
        assert question(page) == "Unseen?"
        page.route("**/v1/queue/claims", lambda route: route.continue_() if held else held.append(route))
        page.get_by_label("Not looked at yet").uncheck()
        page.get_by_label("To", exact=True).fill("2020-01-01")
        while not held:
            page.wait_for_timeout(50)  # the browser is heard meanwhile
        held[0].continue_()
        page.get_by_text("Nothing is waiting for a look.").wait_for()


def test_a_day_is_typed_without_losing_the_focus_to_the_answer(
    browser: Any, served: Served, address: str
) -> None:
    served.respond("Unseen?")
    with visit(browser, f"{address}/#/queue", locale="en-US") as page:
        assert question(page) == "Unseen?"
        start = page.get_by_label("From")
        start.focus()
        for key in "01152020":  # a date at each digit of its year
            page.keyboard.press(key)
            page.wait_for_timeout(100)  # an answer comes in between
        assert start.input_value() == "2020-01-15"
        assert start.evaluate("start => start === document.activeElement")
        assert question(page) == "Unseen?"


def test_an_admin_releases_and_rejects_what_is_held_back(browser: Any, served: Served, address: str) -> None:
    for number in (1, 2):
        held = correction(
            f"c{number}",
            response_id=served.respond(),
            status="quarantined",
            reason="link",
            author=HOSTILE,
            questioned=[HOSTILE],
        )
        served.store.corrections.add(held)
    with visit(browser, f"{address}/#/queue/held") as page:
        cards = page.locator(".card")
        cards.nth(1).wait_for()
        assert HOSTILE in cards.first.inner_text()
        cards.first.get_by_role("button", name="Release").click()
        cards.nth(1).wait_for(state="detached")
        cards.first.get_by_role("button", name="Reject").click()
        page.get_by_text("Nothing is held back.").wait_for()
        assert page.evaluate("window.hacked") is None
        assert page.locator("[onmouseover]").count() == 0
    assert sorted(one.status for one in stored(served)) == ["accepted", "rejected"]


def test_who_may_not_settle_is_told(browser: Any, served: Served, address: str) -> None:
    _, secret = served.store.keys.create("person", ["chat", "feedback"])
    with visit(browser, address) as page:
        page.evaluate("key => sessionStorage.setItem('errata.key', key)", secret)
        page.goto(f"{address}/#/queue/held")
        page.reload()
        page.get_by_text("Only a key with the scope admin may settle these.").wait_for()
