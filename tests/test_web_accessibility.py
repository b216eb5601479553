"""What axe finds on each screen, in light and in dark, wide and as narrow as a phone: nothing serious."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import PHONE, ask, chromium, needs_chromium, visit
from fake_engine import FakeEngine
from served import Served, encoded, listening, publish, serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with serving(folder / "state", FakeEngine(max_model_len=4096)) as served:
        publish(served, folder)
        spans = [{"start": 0, "end": 2, "replacement": "From"}]
        served.client.post("/feedback", json={"response_id": served.respond(), "spans": spans})
        served.respond("Does anybody look at this one?")
        yield served


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with listening(served) as address:
        yield address


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    path.write_bytes(encoded(size=(64, 48)))
    return path


def chat(page: Any, picture: Path) -> None:
    ask(page, picture=picture)


def correcting(page: Any, picture: Path) -> None:
    ask(page, picture=picture)
    page.keyboard.press("ArrowUp")
    page.locator("errata-picture img").wait_for()
    page.keyboard.type("red")
    page.keyboard.press("Enter")
    page.keyboard.type("blue")
    page.keyboard.press("Alt+2")


def corrected(page: Any, picture: Path) -> None:
    correcting(page, picture)
    page.keyboard.press("Control+Enter")
    page.locator(".stored").wait_for()


def queue(page: Any, picture: Path) -> None:
    page.goto(f"{page.url.split('#')[0]}#/queue")
    page.locator(".queue-item").wait_for()


def held_back(page: Any, picture: Path) -> None:
    page.goto(f"{page.url.split('#')[0]}#/queue/held")
    page.get_by_text("Nothing is held back.").wait_for()


def loop(page: Any, picture: Path) -> None:
    page.goto(f"{page.url.split('#')[0]}#/loop")
    page.locator("errata-figure canvas").nth(1).wait_for()
    for details in page.get_by_text("As a table").all():
        details.click()
    for row in page.locator("errata-board summary").all()[1:]:
        row.click()
    page.locator("errata-panel canvas").nth(20).wait_for()


def sign_in(page: Any, picture: Path) -> None:
    page.evaluate("sessionStorage.setItem('errata.key', 'sk-errata-wrong')")
    page.route("**/v1/models", lambda route: route.fulfill(status=401, json={"error": {"message": "no"}}))
    page.reload()
    page.get_by_label("Key").wait_for()


@pytest.mark.parametrize(
    "screen",
    [chat, correcting, corrected, queue, held_back, loop, sign_in],
    ids=lambda screen: screen.__name__,
)
def test_axe_finds_nothing_serious_in_light_and_in_dark_and_nothing_is_wider_than_a_phone(
    browser: Any, address: str, picture: Path, screen: Callable[[Any, Path], None]
) -> None:
    with visit(browser, address) as page:
        page.get_by_label("Your question").wait_for()
        screen(page, picture)
        assert serious(page) == []
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size(PHONE)
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def serious(page: Any) -> list[tuple[str, list[str]]]:
    """The rules that are broken, and by what."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        (violation["id"], [node["html"] for node in violation["nodes"]])
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


def test_the_page_is_dark_where_the_person_likes_it_dark(browser: Any, address: str) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        with visit(browser, address, color_scheme=scheme) as page:
            ground = page.evaluate(
                "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
            )
            grounds.append(sum(ground))
    assert grounds[0] > 600
    assert grounds[1] < 150
