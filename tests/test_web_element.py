"""`<errata-correct>` on somebody else's page, in a real browser: another origin, a token and no key."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium, needs_chromium, stored, visit
from fake_engine import FakeEngine
from served import Served, data_url, encoded, image_part, listening, serving

pytestmark = needs_chromium
FOREIGN_STYLE = "<style>* { color: rgb(1, 2, 3) !important } .answer-text { display: none }</style>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that another origin serves, and that origin."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def served(tmp_path: Path, foreign: tuple[Path, str]) -> Iterator[Served]:
    engine = FakeEngine(max_model_len=4096)
    with serving(tmp_path / "state", engine, browser_origins=(foreign[1],)) as served:
        yield served


def place(folder: Path, address: str, attributes: str) -> None:
    folder.joinpath("index.html").write_text(
        f'<!doctype html><html lang="en"><title>Foreign</title>{FOREIGN_STYLE}<h1>Theirs</h1>'
        f'<script type="module" src="{address}/web/element.js"></script>'
        f"<errata-correct {attributes}></errata-correct></html>"
    )


def test_a_foreign_page_corrects_with_the_answer_s_token(
    browser: Any, served: Served, foreign: tuple[Path, str]
) -> None:
    folder, origin = foreign
    _, secret = served.store.keys.create("application", ["chat"])
    answer = served.chat(
        [image_part(data_url(encoded(size=(32, 24)))), {"type": "text", "text": "What?"}],
        feedback_token=True,
        headers={"Authorization": f"Bearer {secret}"},
    ).json()["choices"][0]
    with listening(served) as address:
        place(folder, address, f'response-id="{answer["response_id"]}" token="{answer["feedback_token"]}"')
        with visit(browser, origin) as page:
            text = page.locator("errata-correct .answer-text")
            text.wait_for()
            assert text.inner_text() == "By base: a red cup and a fork."
            box = text.bounding_box()
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            page.locator("errata-correct .picture-frame img").wait_for()
            page.get_by_label("Find the wrong words").fill("red")
            page.keyboard.press("Enter")
            page.keyboard.type("blue")
            page.keyboard.press("Alt+2")
            page.keyboard.press("Control+Enter")
            page.locator("errata-correct .stored").wait_for()
            assert page.evaluate("Object.keys(localStorage).length") == 0
    (correction,) = stored(served, answer["response_id"])
    assert correction.spans == [{"start": 11, "end": 14, "replacement": "blue", "kind": "attribute"}]


def test_a_token_that_is_not_good_is_told_in_place(
    browser: Any, served: Served, foreign: tuple[Path, str]
) -> None:
    folder, origin = foreign
    with listening(served) as address:
        place(
            folder, address, f'response-id="{served.respond()}" token="errata-feedback.x.y" src="{address}"'
        )
        with visit(browser, origin) as page:
            page.get_by_text("this feedback token is not one that this server gave").wait_for()
