"""Asking on the page, in a real browser: pictures, streams, stops, sign-in, and answers that would like to be HTML."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import PHONE, ask, chromium, needs_chromium, stored, visit
from fake_engine import FakeEngine
from served import Served, encoded, listening, serving, wait_until

pytestmark = needs_chromium
HOSTILE = (
    "<img src=x onerror='window.hacked=1'> <script>window.hacked=1</script> \"><svg onload=window.hacked=1>"
)


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


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with visit(browser, address) as page:
        page.get_by_label("Your question").wait_for()
        yield page


def send_picture(page: Any, event: str) -> None:
    """As a person's desktop would: the picture's bytes in the event's transfer."""
    page.evaluate(
        """([event, data]) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "picture.png", { type: "image/png" }));
          const made = event === "paste"
            ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
            : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
          document.querySelector("textarea").dispatchEvent(made);
        }""",
        [event, base64.b64encode(encoded()).decode()],
    )


def test_an_answer_tells_which_version_gave_it(page: Any, served: Served) -> None:
    ask(page)
    assert page.locator(".answer-text").inner_text() == served.engine.text("base")
    assert page.locator("errata-answer .version").inner_text() == "base"
    assert page.locator(".question").inner_text() == "What is on the table?"


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_a_picture_is_chosen_dropped_or_pasted(page: Any, served: Served, tmp_path: Path, way: str) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded())
    if way == "choose":
        page.set_input_files("input[type=file]", picture)
    else:
        send_picture(page, way)
    page.locator(".chosen img").wait_for()
    ask(page)
    (images,) = [images for _, images in served.engine.prepared]
    assert list(images.values()) == [encoded()]
    assert page.locator(".question img").evaluate("image => image.naturalWidth") == 8
    assert page.locator(".chosen").count() == 0


def test_what_is_no_picture_is_refused_before_it_is_sent(page: Any, tmp_path: Path) -> None:
    other = tmp_path / "picture.svg"
    other.write_text("<svg/>")
    page.set_input_files("input[type=file]", other)
    page.get_by_text("Only PNG, JPEG, WebP and GIF").wait_for()


def test_words_are_shown_as_they_come_and_told_to_listeners_when_all_are_there(
    page: Any, served: Served
) -> None:
    served.engine.hold()
    page.get_by_label("Your question").fill("What?")
    page.keyboard.press("Enter")
    wait_until(lambda: page.locator(".is-coming").inner_text() == "By")
    log = page.get_by_role("log")
    assert log.get_attribute("aria-busy") == "true"
    served.engine.go_on()
    page.locator("errata-answer").wait_for()
    assert page.locator(".answer-text").inner_text() == served.engine.text("base")
    assert log.get_attribute("aria-busy") == "false"


def test_an_answer_is_stopped_and_what_it_said_can_still_be_corrected(page: Any, served: Served) -> None:
    served.engine.hold()
    page.get_by_label("Your question").fill("What?")
    page.keyboard.press("Enter")
    wait_until(lambda: page.locator(".is-coming").inner_text() == "By")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped.").wait_for()
    wait_until(lambda: served.engine.cancelled)
    page.locator("errata-answer").wait_for()
    assert page.locator(".answer-text").inner_text() == "By"
    page.get_by_role("button", name="Correct").click()
    page.get_by_label("The answer as it should be").fill("Near")
    page.keyboard.press("Control+Enter")
    page.locator(".stored").wait_for()
    assert [correction.corrected_text for correction in stored(served)] == ["Near"]


def test_a_second_question_brings_the_first_one_along(page: Any, served: Served) -> None:
    ask(page, "What is there?")
    ask(page, "And what else?")
    conversation, _ = served.engine.prepared[-1]
    assert [message.role for message in conversation.messages] == ["user", "assistant", "user"]
    page.get_by_role("button", name="New chat").click()
    page.locator("errata-answer").first.wait_for(state="detached")
    ask(page, "Afresh?")
    conversation, _ = served.engine.prepared[-1]
    assert [message.role for message in conversation.messages] == ["user"]


def test_a_question_that_is_asked_before_it_is_known_who_answers_is_not_lost(page: Any) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        """The second one is the chat's; the first tells whether a key is needed."""
        held.append(route)
        if len(held) == 1:
            route.continue_()

    page.route("**/v1/models", hold)
    page.reload()
    page.get_by_label("Your question").fill("Who is there?")
    page.keyboard.press("Enter")
    while len(held) < 2:
        page.wait_for_timeout(20)
    assert page.locator("errata-answer").count() == 0
    held[1].continue_()
    page.locator("errata-answer").first.wait_for()


def test_a_reload_keeps_the_conversation(page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded())
    ask(page, "What is there?", picture)
    page.reload()
    page.locator("errata-answer").wait_for()
    assert page.locator(".question").inner_text() == "What is there?"
    assert page.locator(".question img").count() == 1


def test_an_answer_that_breaks_off_says_so(page: Any, served: Served) -> None:
    served.engine.error_after = 2
    page.get_by_label("Your question").fill("What?")
    page.keyboard.press("Enter")
    page.get_by_text("No whole answer came.").wait_for()
    assert "the fake engine broke" in page.get_by_role("alert").inner_text()


def test_words_of_models_and_people_are_never_html(browser: Any, served: Served, address: str) -> None:
    served.engine.answers["base"] = HOSTILE
    with visit(browser, address) as page:
        page.evaluate("name => sessionStorage.setItem('errata.name', name)", HOSTILE)
        page.reload()
        ask(page, HOSTILE)
        assert page.locator(".answer-text").inner_text() == HOSTILE
        page.keyboard.press("ArrowUp")
        page.get_by_label("The answer as it should be").press("Control+a")
        page.keyboard.insert_text(HOSTILE + HOSTILE)
        assert page.locator("[contenteditable]").inner_text() == HOSTILE + HOSTILE
        page.keyboard.press("Control+Enter")
        page.locator(".stored").wait_for()
        assert HOSTILE in page.locator(".stored").inner_text()
        (correction,) = stored(served)
        assert (correction.author, correction.corrected_text) == (HOSTILE, HOSTILE + HOSTILE)
        assert page.locator("main :is(script, svg, [onerror], [onload])").count() == 0
        assert page.evaluate("window.hacked") is None


def test_a_pasted_text_brings_no_html_into_the_editor(page: Any) -> None:
    ask(page)
    page.keyboard.press("ArrowUp")
    box = page.get_by_label("The answer as it should be")
    box.press("Control+a")
    page.evaluate(
        """html => {
          const transfer = new DataTransfer();
          transfer.setData("text/html", html);
          transfer.setData("text/plain", "plain");
          document.activeElement.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
        }""",
        HOSTILE,
    )
    assert box.locator(":not(ins)").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_server_with_keys_asks_for_one_and_keeps_it_in_the_tab(
    browser: Any, served: Served, address: str
) -> None:
    _, secret = served.store.keys.create("person", ["chat", "feedback"])
    with visit(browser, address) as page:
        page.get_by_label("Key").fill("sk-errata-wrong")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("this key is not known").wait_for()
        page.get_by_label("Key").fill(secret)
        page.get_by_label("Name").fill("Ada")
        page.get_by_role("button", name="Sign in").click()
        ask(page)
        assert page.evaluate("Object.keys(localStorage).length") == 0
        assert secret not in page.url
        page.reload()
        page.locator("errata-answer").wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Key").wait_for()
        assert page.evaluate("Object.keys(sessionStorage).length") == 0


def test_a_link_opens_one_answer_for_somebody_without_a_key(
    browser: Any, served: Served, address: str
) -> None:
    _, secret = served.store.keys.create("person", ["chat", "feedback"])
    headers = {"Authorization": f"Bearer {secret}"}
    answer = served.chat(headers=headers)
    link = served.client.post(f"/v1/responses/{answer.json()['id']}/link", headers=headers).json()
    with visit(browser, address + link["path"]) as page:
        page.locator(".answer-text").wait_for()
        assert link["token"] not in page.url
        page.get_by_role("button", name="Correct").click()
        page.keyboard.type("red")
        page.keyboard.press("Enter")
        page.keyboard.type("blue")
        page.keyboard.press("Control+Enter")
        page.locator(".stored").wait_for()
        assert [one.corrected_text for one in stored(served)] == ["By base: a blue cup and a fork."]
        page.reload()
        page.locator(".stored").wait_for()


def test_nothing_is_wider_than_a_phone(browser: Any, served: Served, address: str) -> None:
    served.engine.answers["base"] = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen " * 3
    with visit(browser, address, viewport=PHONE) as page:
        ask(page)
        page.get_by_role("button", name="Correct").click()
        page.keyboard.type("Donau")
        page.keyboard.press("Enter")
        page.keyboard.type("Rhein")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
