"""Pictures of the page for the docs: the embedded model answers, simulated people correct, it learns, a browser looks.

All that is shown happened on a real server, but for the dates: they are spread over three weeks, for the charts' sake.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errata import Errata
from PIL import Image
from playwright.sync_api import sync_playwright
from sqlalchemy import select, update

from align.scenes.annotator import annotate
from align.scenes.draw import png_bytes
from align.scenes.world import Scene, sample_scene
from align.spans import KINDS, Span
from align.state import Store, schema
from serve.demo.people import FRESH, Annotators, Tally
from serve.demo.story import free_port
from serve.launch import running
from serve.settings import AlignmentSettings, Settings

FOLDER = Path(__file__).parent.parent / "docs" / "images"
DESKTOP, PHONE = {"width": 1100, "height": 760}, {"width": 390, "height": 760}
QUESTION = "What is in this picture?"
DAY_S = 86_400
NUM_DAYS_BEFORE, NUM_DAYS_AFTER = 14, 6
RUN_S = 900.0
BOARD_CORRECTIONS = 15  # four times, while the board is watched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corrections", type=int, default=150, help="that it learns from")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go")
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="errata-screenshots-"))
    settings = Settings(
        state=state,
        port=free_port(),
        alignment=AlignmentSettings(min_corrections=options.corrections),
    )
    address = f"http://127.0.0.1:{settings.port}"
    try:
        with running(settings):
            live_through(address, settings, options.corrections)
            options.folder.mkdir(parents=True, exist_ok=True)
            take_all(address, options.folder)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def live_through(address: str, settings: Settings, num_corrections: int) -> None:
    """Corrections, a run, and some more answers by what it made."""
    store = Store(settings.database_url)
    Annotators(address, Tally(), num_corrections, seed=0).work(lambda: None)
    client = Errata(base_url=f"{address}/v1")
    deadline = time.monotonic() + RUN_S
    while not (runs := client.alignments.list()) or not runs[0].is_ended:  # it starts by itself
        assert time.monotonic() < deadline, runs
        time.sleep(1.0)
    (run,) = runs
    while run.status == "admitted" and client.adapters.list().in_force.live != run.adapter:
        assert time.monotonic() < deadline, run
        time.sleep(0.2)
    grow_old(store, after_days=NUM_DAYS_AFTER)
    Annotators(address, Tally(), num_corrections // 10, seed=1).work(lambda: None)
    grow_old(store, after_days=0)
    store.close()


def grow_old(store: Store, after_days: int) -> None:
    """Answers of today, their corrections and what was made of them become some days older, one after the other."""
    responses, corrections = schema.responses, schema.corrections
    num_days = NUM_DAYS_BEFORE if after_days else NUM_DAYS_AFTER
    with store.database.write() as connection:
        today = responses.c.created > time.time() - DAY_S / 2
        young = list(connection.execute(select(responses.c.id).where(today).order_by(responses.c.created)))
        for index, (response_id,) in enumerate(young):
            age_s = DAY_S * (after_days + num_days * (1 - index / len(young)) ** 1.3)
            for table, key in ((responses, responses.c.id), (corrections, corrections.c.response_id)):
                older = update(table).where(key == response_id).values(created=table.c.created - age_s)
                connection.execute(older)
        for table in (schema.runs, schema.adapters) if after_days else ():
            connection.execute(update(table).values(created=table.c.created - DAY_S * after_days))


def take_all(address: str, folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        for scheme, viewport, suffix in (("light", DESKTOP, ""), ("dark", PHONE, "_phone")):
            page = browser.new_page(color_scheme=scheme, viewport=viewport, device_scale_factor=1.5)
            page.goto(address)
            words = wrong_answer(page)
            keep(page, folder / f"page_chat{suffix}.png")
            correct(page, *words)
            keep(page, folder / f"page_correct{suffix}.png")
            page.keyboard.press("Control+Enter")
            page.get_by_text("It counts in the next run").wait_for()
            keep(page, folder / f"page_stored{suffix}.png")
            page.goto(f"{address}/#/queue")
            page.locator(".queue-item errata-picture img").wait_for()
            keep(page, folder / f"page_queue{suffix}.png")
            page.goto(f"{address}/#/loop")
            page.locator("errata-figure canvas").nth(1).wait_for()
            page.locator("errata-board summary").first.click()  # it has a picture of its own
            keep(page, folder / f"page_loop{suffix}.png", is_whole=not suffix)
            page.get_by_text("What the gate found").first.click()
            page.locator(".report canvas").first.wait_for()
            if not suffix:
                page.set_viewport_size({**viewport, "height": 1800})  # else the header stands over it
                keep(page.locator(".report").first, folder / "page_report.png")
        page = browser.new_page(color_scheme="light", viewport=DESKTOP, device_scale_factor=1.5)
        board(page, address)
        keep(page.locator("errata-board"), folder / "page_board.png")
        browser.close()


def board(page: Any, address: str) -> None:
    """While it looks, people chat and correct, and another version answers."""
    page.goto(f"{address}/#/loop")
    page.locator("errata-board summary", has_text="Adapters").click()
    client = Errata(base_url=f"{address}/v1")
    for seed in range(2, 6):
        Annotators(address, Tally(), BOARD_CORRECTIONS, seed=seed).work(lambda: None)
        if seed == 3:
            client.adapters.rollback()
    time.sleep(6.0)  # until the page has looked once more
    page.set_viewport_size({**DESKTOP, "height": 2400})  # else the header stands over it


def wrong_answer(page: Any) -> tuple[str, Span]:
    """Ask the base until one word of an answer has to be another one; that word, and the change."""
    for scene in scenes():
        page.get_by_label("Version that answers").select_option(label="base")
        picture = {"name": "scene.png", "mimeType": "image/png", "buffer": png_bytes(scene)}
        page.set_input_files("input[type=file]", [picture])
        page.get_by_label("Your question").fill(QUESTION)
        page.keyboard.press("Enter")
        page.locator("errata-answer").wait_for()
        text = page.locator("errata-answer .answer-text").inner_text()
        for span in annotate(text, scene) or []:
            words = text[span.start : span.end]
            is_word = all(piece and " " not in piece for piece in (words, span.replacement))
            if is_word and text.count(words) == 1:
                return words, span
        page.get_by_role("button", name="New chat").click()
    raise AssertionError("there is no end of scenes")


def scenes() -> Iterator[Scene]:
    index = 2 * FRESH
    while True:
        index += 1
        yield sample_scene("honest", "train", index)


def correct(page: Any, words: str, span: Span) -> None:
    page.keyboard.press("ArrowUp")
    page.locator("errata-picture img").wait_for()
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.keyboard.type(span.replacement)
    page.keyboard.press(f"Alt+{KINDS.index(span.kind) + 1}")


def keep(shown: Any, path: Path, is_whole: bool = False) -> None:
    """As a PNG of few colours, a third as large."""
    time.sleep(0.4)  # charts and scrolling come to rest
    options = {"full_page": True} if is_whole else {}
    picture = Image.open(io.BytesIO(shown.screenshot(**options))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
