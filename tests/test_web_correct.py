"""Correcting on the page, in a real browser: seconds from a wrong answer to a stored correction; nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsing import Hands, ask, chromium, needs_chromium, stored, visit
from fake_engine import FakeEngine
from records import adapter_row, running
from served import Served, encoded, listening, serving, wait_until

from align.state.corrections import spans_to_json

pytestmark = needs_chromium
TEXT = "A red cup 🍎 and two forks stand on the table."


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    engine = FakeEngine(answers={"base": TEXT}, max_model_len=4096)
    with serving(tmp_path_factory.mktemp("state"), engine) as served:
        yield served


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with listening(served) as address:
        yield address


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """With one answer on it."""
    with visit(browser, address) as page:
        ask(page)
        yield page


def response_id(page: Any) -> str:
    return str(page.locator("errata-answer").last.evaluate("answer => answer.record.id"))


def text_box(page: Any) -> Any:
    return page.get_by_label("The answer as it should be")


def wait_for_stored(page: Any) -> None:
    page.get_by_text("Correction stored", exact=False).first.wait_for()


def replace(page: Any, wrong: str, right: str) -> None:
    """By keyboard, in an answer that is open."""
    page.get_by_label("Find the wrong words").focus()
    page.keyboard.type(wrong)
    page.keyboard.press("Enter")
    page.keyboard.type(right)


def test_from_a_wrong_answer_to_a_stored_correction_in_six_actions_without_a_mouse(
    page: Any, served: Served
) -> None:
    hands = Hands(page)
    hands.press("ArrowUp")  # correct the last answer
    hands.type("red")  # what is wrong
    hands.press("Enter")
    hands.type("blue")  # what is true
    hands.press("Alt+2")  # an attribute
    hands.press("Control+Enter")
    wait_for_stored(page)
    assert hands.num_actions <= 6
    (correction,) = stored(served, response_id(page))
    assert correction.corrected_text == TEXT.replace("red", "blue")
    assert correction.spans == [{"start": 2, "end": 5, "replacement": "blue", "kind": "attribute"}]


def test_a_click_on_a_word_opens_the_answer_with_the_word_ready_to_be_typed_over(
    page: Any, served: Served
) -> None:
    box = page.locator(".answer-text").bounding_box()
    page.mouse.click(box["x"] + 30, box["y"] + box["height"] / 2)
    page.keyboard.type("blue")
    assert text_box(page).inner_text() == TEXT.replace("red", "blue")
    page.keyboard.press("Control+Enter")
    wait_for_stored(page)
    (correction,) = stored(served, response_id(page))
    assert correction.spans == [{"start": 2, "end": 5, "replacement": "blue", "kind": "other"}]


def test_several_spans_get_their_kinds_by_number_and_offsets_count_code_points(
    page: Any, served: Served
) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "🍎", "🍐")
    replace(page, "two", "three")
    replace(page, "table", "shelf 🙂")
    rows = page.locator(".changes li")
    assert [row.locator(".span").inner_text() for row in rows.all()] == [
        "🍎 🍐",
        "two three",
        "table shelf 🙂",
    ]
    page.keyboard.press("Tab")
    for key in "143":
        page.keyboard.press(key)
    assert page.locator(".changes input:checked + span").all_inner_texts() == [
        "1\nobject",
        "4\nnumber",
        "3\nposition",
    ]
    page.keyboard.press("Control+Enter")
    wait_for_stored(page)
    (correction,) = stored(served, response_id(page))
    points = list(TEXT)
    told = [("".join(points[s["start"] : s["end"]]), s["replacement"], s["kind"]) for s in correction.spans]
    assert told == [("🍎", "🍐", "object"), ("two", "three", "number"), ("table", "shelf 🙂", "position")]
    understood = page.locator(".stored .spans").inner_text()
    assert "🍎 🍐 object" in understood
    assert "two three number" in understood


@pytest.mark.parametrize(
    "corrected",
    [
        "A blue cup 🍎 and two forks stand on the table.",
        "A red cup and two forks stand on the table.",
        "A red cup 👩‍🚀🍎 and two forks stand on the table, and a 👍🏽.",
        "Ein roter Becher",
        "A red cup 🍎\nand two forks stand on the table.\n",
        "A red, red cup 🍎 and two forks stand on the table.",
        "red cup 🍎 and two forks stand on the table",
    ],
)
def test_the_server_reads_the_same_text_out_of_the_page_s_spans(
    page: Any, served: Served, corrected: str
) -> None:
    spans = page.evaluate(
        """async ([served, corrected]) => {
          const { changesBetween, spansOf } = await import("/web/correct/changes.js");
          return spansOf(changesBetween(served, corrected));
        }""",
        [TEXT, corrected],
    )
    answer = served.client.post(
        "/feedback?dryrun=true",
        json={"response_id": response_id(page), "corrected_text": corrected, "spans": spans},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["corrected_text"] == corrected


def test_changes_are_struck_and_inserted_while_they_are_typed_and_undone_in_steps(page: Any) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    mark = text_box(page).locator("ins")
    assert (mark.inner_text(), mark.get_attribute("data-removed")) == ("blue", "red")
    assert "line-through" in mark.evaluate("mark => getComputedStyle(mark, '::before').textDecorationLine")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert text_box(page).inner_text() == TEXT
    assert mark.count() == 0
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+Shift+z")
    assert mark.inner_text() == "blue"
    page.get_by_role("button", name="Reset").click()
    assert text_box(page).inner_text() == TEXT
    assert mark.count() == 0


def test_nothing_wrong_is_one_key(page: Any, served: Served) -> None:
    page.locator(".answer-text").focus()
    page.keyboard.press("n")
    page.get_by_text("It counts in the rates, not in the training.").wait_for()
    (correction,) = stored(served, response_id(page))
    assert (correction.status, correction.spans) == ("nothing_wrong", [])


def test_nothing_wrong_opens_a_draft_that_says_otherwise(page: Any, served: Served) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    page.keyboard.press("Escape")
    page.locator(".answer-text").focus()
    page.keyboard.press("n")
    page.get_by_text("You have begun to correct this answer.").wait_for()
    assert text_box(page).inner_text() == TEXT.replace("red", "blue")
    assert stored(served, response_id(page)) == []
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("button", name="Leave").click()
    page.locator(".answer-text").focus()
    page.keyboard.press("n")
    page.get_by_text("It counts in the rates, not in the training.").wait_for()
    (correction,) = stored(served, response_id(page))
    assert correction.spans == []


def test_nothing_wrong_goes_as_another_correction_too(page: Any, served: Served) -> None:
    page.evaluate(
        """async ([id, text]) => {
          const { drafts } = await import("/web/correct/drafts.js");
          drafts.keep(id, { key: "used", text, changes: [] });
        }""",
        [response_id(page), TEXT],
    )
    used = {"response_id": response_id(page), "corrected_text": TEXT.replace("red", "blue")}
    headers = {"idempotency-key": "used"}
    assert served.client.post("/feedback", json=used, headers=headers).status_code == 201
    page.locator(".answer-text").focus()
    page.keyboard.press("n")
    page.get_by_role("button", name="Send as another correction").click()
    page.get_by_text("It counts in the rates, not in the training.").wait_for()
    assert [bool(one.spans) for one in stored(served, response_id(page))] == [True, False]


def test_nothing_is_sent_while_nothing_is_changed(page: Any, served: Served) -> None:
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Nothing is changed yet").wait_for()
    assert stored(served, response_id(page)) == []


def test_escape_leaves_and_the_draft_is_there_again(page: Any) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    page.keyboard.press("Alt+2")
    page.keyboard.press("Escape")
    page.get_by_text("Draft kept").wait_for()
    page.reload()
    page.locator(".answer-text").wait_for()
    page.keyboard.press("ArrowUp")
    assert text_box(page).locator("ins").get_attribute("data-removed") == "red"
    assert text_box(page).locator("ins").get_attribute("data-kind") == "attribute"


def test_the_picture_is_beside_the_text_and_can_be_looked_at_closely(page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(size=(64, 48)))
    ask(page, picture=picture)
    page.keyboard.press("ArrowUp")
    frame = page.locator(".picture-frame")
    image = frame.locator("img")
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    assert frame.bounding_box()["width"] > 400
    assert frame.bounding_box()["x"] < text_box(page).bounding_box()["x"]

    def zoom() -> float:
        return float(image.evaluate("image => new DOMMatrix(image.style.transform).a"))

    frame.focus()
    page.keyboard.press("+")
    assert zoom() > 1
    page.keyboard.press("0")
    assert zoom() == 1
    frame.hover()
    page.mouse.wheel(0, -300)
    wait_until(lambda: zoom() > 2)
    frame.dblclick()
    assert zoom() == 1


def test_what_became_of_a_correction_is_told_where_the_answer_stands(page: Any, served: Served) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    page.keyboard.press("Control+Enter")
    wait_for_stored(page)
    page.get_by_text("of the 100 new corrections that start it are there", exact=False).wait_for()
    (correction,) = stored(served, response_id(page))
    run_id = running(served.store)
    manifest = {"train": [correction.id], "held_out": [], "last_sequence": correction.sequence}
    served.store.runs.update(served.store.runs.get(run_id), manifest=manifest)
    adapter_row(served.store, run_id=run_id)
    page.reload()
    page.locator(".used").wait_for()
    assert page.locator(".used").inner_text() == "v0001 learned from it (admitted)."


def test_a_lost_connection_keeps_the_draft_and_sends_it_once_it_is_back(page: Any, served: Served) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    page.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    page.get_by_text("Not sent yet.").wait_for()
    assert page.locator(".answer-text").inner_text() == TEXT.replace("red", "blue")
    assert stored(served, response_id(page)) == []
    page.context.set_offline(False)
    wait_for_stored(page)
    assert len(stored(served, response_id(page))) == 1


def test_an_answer_that_got_lost_is_asked_for_again_and_stored_once(page: Any, served: Served) -> None:
    keys = lose_answers(page)
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Not sent yet.").wait_for()
    assert len(stored(served, response_id(page))) == 1  # it had arrived
    page.unroute("**/feedback")
    page.reload()
    wait_for_stored(page)
    assert len(stored(served, response_id(page))) == 1
    (correction,) = stored(served, response_id(page))
    assert {correction.idempotency_key} == set(keys)


def test_a_draft_that_was_changed_after_it_had_arrived_is_told_and_can_go_as_another(
    page: Any, served: Served
) -> None:
    lose_answers(page)
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Not sent yet.").wait_for()
    page.get_by_role("button", name="Keep editing").click()
    page.unroute("**/feedback")
    replace(page, "forks", "knives")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Another version of this draft is stored already.").wait_for()
    page.get_by_role("button", name="Send as another correction").click()
    wait_for_stored(page)
    texts = [correction.corrected_text for correction in stored(served, response_id(page))]
    assert texts == [
        TEXT.replace("red", "blue"),
        TEXT.replace("red", "blue").replace("forks", "knives"),
    ]


@pytest.mark.parametrize("is_sent_again", [False, True])
def test_what_is_written_while_an_earlier_sending_is_under_way_is_kept(
    page: Any, served: Served, is_sent_again: bool
) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    held = hold_one(page, num_lost=1)
    page.keyboard.press("Control+Enter")
    page.get_by_text("Not sent yet.").wait_for()
    wait_for_held(page, held)
    page.get_by_role("button", name="Keep editing").click()
    replace(page, "forks", "knives")
    if is_sent_again:
        page.keyboard.press("Control+Enter")
        page.get_by_text("Sending…").wait_for()
    with page.expect_response("**/feedback"):
        held[0].continue_()
    if not is_sent_again:
        page.wait_for_timeout(200)  # nothing is to come of it
        page.keyboard.press("Control+Enter")
    page.get_by_text("Another version of this draft is stored already.").wait_for()
    assert text_box(page).inner_text() == TEXT.replace("red", "blue").replace("forks", "knives")
    page.get_by_role("button", name="Send as another correction").click()
    wait_for_stored(page)
    assert [one.corrected_text for one in stored(served, response_id(page))] == [
        TEXT.replace("red", "blue"),
        TEXT.replace("red", "blue").replace("forks", "knives"),
    ]


@pytest.mark.parametrize("is_refused", [False, True])
def test_late_news_leaves_the_caret_in_another_answer_s_editor(page: Any, is_refused: bool) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    held = hold_one(page)
    page.keyboard.press("Control+Enter")
    wait_for_held(page, held)
    ask(page)
    page.keyboard.press("ArrowUp")
    replace(page, "forks", "kni")
    if is_refused:
        held[0].fulfill(status=409, json={"error": {"message": "no"}})
        page.get_by_text("Another version of this draft is stored already.").wait_for()
    else:
        held[0].continue_()
        wait_for_stored(page)
    page.keyboard.type("ves")
    assert text_box(page).inner_text() == TEXT.replace("forks", "knives")
    if is_refused:
        page.get_by_role("button", name="Send as another correction").click()
        wait_for_stored(page)


def test_an_answer_that_was_deleted_meanwhile_is_told(page: Any, served: Served) -> None:
    assert served.client.delete(f"/v1/responses/{response_id(page)}").status_code == 200
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    page.keyboard.press("Control+Enter")
    page.get_by_text("This answer was deleted.").wait_for()
    page.get_by_role("button", name="Discard the draft").click()
    assert page.evaluate("Object.keys(sessionStorage).filter((name) => name.includes('draft'))") == []


def test_a_key_that_ended_meanwhile_is_told_and_the_draft_is_there_after_the_next_sign_in(
    browser: Any, tmp_path: Path
) -> None:
    engine = FakeEngine(answers={"base": TEXT}, max_model_len=4096)
    with serving(tmp_path, engine) as served, listening(served) as address:
        key, secret = served.store.keys.create("ada", ["chat", "feedback", "admin"])
        _, next_secret = served.store.keys.create("ada again", ["chat", "feedback", "admin"])
        with visit(browser, address) as page:
            sign_in(page, secret)
            ask(page)
            page.keyboard.press("ArrowUp")
            replace(page, "red", "blue")
            served.store.keys.revoke(key.id)
            wait_until(lambda: is_refused(address, secret))  # a key is remembered for a moment
            page.keyboard.press("Control+Enter")
            page.get_by_text("Reload this page and sign in; the draft is kept.").wait_for()
            page.reload()
            sign_in(page, next_secret)
            page.get_by_text("Draft kept").wait_for()
            page.keyboard.press("ArrowUp")
            assert text_box(page).inner_text() == TEXT.replace("red", "blue")
            page.keyboard.press("Control+Enter")
            wait_for_stored(page)


def test_who_was_let_in_by_a_link_that_ended_is_not_told_to_sign_in(browser: Any, tmp_path: Path) -> None:
    engine = FakeEngine(answers={"base": TEXT}, max_model_len=4096)
    with serving(tmp_path, engine) as served, listening(served) as address:
        key, secret = served.store.keys.create("ada", ["chat", "feedback"])
        headers = {"Authorization": f"Bearer {secret}"}
        answer = served.chat(headers=headers).json()["id"]
        link = served.client.post(f"/v1/responses/{answer}/link", headers=headers).json()
        with visit(browser, address + link["path"]) as page:
            page.get_by_role("button", name="Correct").click()
            replace(page, "red", "blue")
            served.store.keys.revoke(key.id)
            page.keyboard.press("Control+Enter")
            page.get_by_text("Ask whoever let you in for another link; the draft is kept.").wait_for()
            assert text_box(page).inner_text() == TEXT.replace("red", "blue")


def is_refused(address: str, secret: str) -> bool:
    answer = httpx.get(f"{address}/v1/models", headers={"authorization": f"Bearer {secret}"})
    return answer.status_code == 401


def sign_in(page: Any, secret: str) -> None:
    page.get_by_label("Key").fill(secret)
    page.get_by_role("button", name="Sign in").click()


def test_what_is_no_correction_is_told_and_can_be_edited_on(page: Any, served: Served) -> None:
    page.keyboard.press("ArrowUp")
    replace(page, "red", "blue")
    text_box(page).press("Control+a")
    page.keyboard.insert_text("something else " * 40)
    page.keyboard.press("Control+Enter")
    page.get_by_text("This is no correction of that answer.").wait_for()
    page.get_by_text("This changes most of the answer", exact=False).wait_for()
    assert stored(served, response_id(page)) == []
    text_box(page).press("Control+a")
    page.keyboard.insert_text(TEXT.replace("red", "blue"))
    page.keyboard.press("Control+Enter")
    wait_for_stored(page)
    (correction,) = stored(served, response_id(page))
    assert correction.spans == spans_to_json_of("red", "blue")


def spans_to_json_of(wrong: str, right: str) -> list[dict[str, Any]]:
    from align.spans import Span

    start = TEXT.index(wrong)
    return spans_to_json([Span(start, start + len(wrong), right)])


def lose_answers(page: Any) -> list[str]:
    """Corrections arrive, and what the server says of them does not. The idempotency keys that were sent."""
    keys: list[str] = []

    def lose(route: Any) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.fetch()
        route.abort()

    page.route("**/feedback", lose)
    return keys


def hold_one(page: Any, num_lost: int = 0) -> list[Any]:
    """After so many that get lost, a correction is under way until the test lets it go on; later ones just go on."""
    seen: list[Any] = []
    held: list[Any] = []

    def hold(route: Any) -> None:
        seen.append(route)
        if len(seen) <= num_lost:
            route.abort()
        elif held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/feedback", hold)
    return held


def wait_for_held(page: Any, held: list[Any]) -> None:
    for _ in range(100):
        if held:
            return
        page.wait_for_timeout(100)  # the browser is heard meanwhile
    raise AssertionError("nothing was sent")
