"""The loop's screen, in a real browser: figures with their tables, runs, versions, and the change between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium, needs_chromium, visit
from fake_engine import FakeEngine
from records import adapter_row, running
from served import Served, listening, promote, publish, serving, wait_until
from test_serve_api_adapters import live

pytestmark = needs_chromium
CHANGE = {"estimate": 0.2, "low": 0.1, "high": 0.3}
GATE = {
    "decision": "admitted",
    "reasons": ["admitted: score margin +0.200"],
    "findings": [{"criterion": {}, "standing": "met", "words": "score margin +0.200, more than 0 is needed"}],
    "comparisons": {
        "held_out.margin": {"live": 0.1, "candidate": 0.3, "change": CHANGE, "num_images": 40},
        "held_out.recurrence": {
            "live": 0.5,
            "candidate": 0.3,
            "change": {**CHANGE, "low": None},
            "num_images": 40,
        },
        "general.length": {
            "live": 12,
            "candidate": 12,
            "change": {**CHANGE, "estimate": 1.0},
            "num_images": 40,
        },
    },
    "num_held_out": 40,
    "num_general": 60,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "state", FakeEngine(max_model_len=4096)) as served:
        yield served


@pytest.fixture
def address(served: Served) -> Iterator[str]:
    with listening(served) as address:
        yield address


def yes(page: Any) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()


def version_row(page: Any, version: str) -> Any:
    return page.locator(f"#adapter-{version}")


def test_figures_are_charts_and_tables_of_the_same_numbers(
    browser: Any, served: Served, address: str
) -> None:
    for spans in ([], [{"start": 3, "end": 7, "replacement": "the base", "kind": "object"}]):
        answer = {"response_id": served.respond(), "spans": spans}
        assert served.client.post("/feedback", json=answer).status_code == 201
    with visit(browser, f"{address}/#/loop") as page:
        figures = page.locator("errata-figure")
        figures.nth(1).wait_for()
        for figure in figures.all():
            figure.locator("canvas").wait_for()
            figure.get_by_text("As a table").click()
        today = figures.first.locator("tbody tr").last
        assert today.locator("td").all_inner_texts()[:3] == ["2", "1", "1"]
        rates = figures.nth(1).locator("tbody tr", has_text="base").locator("td").all_inner_texts()
        assert rates[:4] == ["2", "1", "1", "500.0"]
        kinds = page.locator(".bars tr", has_text="object")
        assert kinds.locator(".number").inner_text() == "1"
        page.get_by_text("1 of 100 new corrections are there", exact=False).wait_for()


def test_a_run_is_asked_for_followed_and_cancelled(browser: Any, served: Served, address: str) -> None:
    with visit(browser, f"{address}/#/loop") as page:
        page.get_by_role("button", name="Learn now").click()
        page.get_by_text("waits for the aligner").wait_for()
        (run,) = served.store.runs.recent()
        served.store.runs.update(
            run,
            status="running",
            progress={"step": 12, "num_steps": 48, "loss": 0.5, "rewards/margins": 1.5},
        )
        page.get_by_text("step 12 of 48 · loss 0.500 · margin 1.50").wait_for()
        served.store.runs.update(run, progress={"step": 13, "num_steps": 48})
        page.get_by_text("step 13 of 48").wait_for()
        page.get_by_role("button", name="Cancel").click()
        yes(page)
        page.locator(".state", has_text="cancelled").wait_for()
    assert served.store.runs.get(run.id).status == "cancelled"


def test_a_look_that_failed_is_told_until_one_succeeds(browser: Any, served: Served, address: str) -> None:
    with visit(browser, f"{address}/#/loop") as page:
        page.get_by_role("button", name="Learn now").click()
        page.get_by_text("waits for the aligner").wait_for()  # from now on it looks each second
        page.route("**/v1/statistics?*", lambda route: route.abort())
        problem = page.get_by_text("the server cannot be reached")
        problem.wait_for()
        page.unroute("**/v1/statistics?*")
        problem.wait_for(state="detached")


def test_a_version_is_promoted_tried_on_some_and_rolled_back(
    browser: Any, served: Served, address: str, tmp_path: Path
) -> None:
    publish(served, tmp_path)
    promote(served, "v1")
    with visit(browser, f"{address}/#/loop") as page:
        version_row(page, "v0002").get_by_role("button", name="Promote").click()
        page.get_by_text("It will answer everyone.").wait_for()
        yes(page)
        version_row(page, "v0002").locator(".state", has_text="live").wait_for()
        assert live(served) == "v0002"
        version_row(page, "v0003").get_by_label("Promote to").fill("25")
        version_row(page, "v0003").get_by_role("button", name="Promote").click()
        page.get_by_text("It will answer 25 % of the people.").wait_for()
        yes(page)
        version_row(page, "v0003").locator(".state", has_text="candidate").wait_for()
        assert "v0002 answers 75 %, v0003 25 %" in " ".join(page.locator(".serving").inner_text().split())
        page.get_by_role("button", name="Roll back").click()
        yes(page)
        page.locator(".serving", has_text="everyone").wait_for()
        page.get_by_role("button", name="Roll back").click()
        page.get_by_role("dialog").get_by_role("button", name="No").click()
        assert served.store.rollouts.in_force().live == "v0002"
        page.get_by_role("button", name="Roll back").click()
        yes(page)
        version_row(page, "v0001").locator(".state", has_text="live").wait_for()
        wait_until(lambda: live(served) == "v0001")


def test_who_answers_is_what_is_in_force_whatever_became_of_a_later_promotion(
    browser: Any, served: Served, address: str, tmp_path: Path
) -> None:
    publish(served, tmp_path)
    promote(served, "v1")
    promote(served, "v2", share=0.25)
    wait_until(lambda: served.store.rollouts.in_force().candidate == "v0002")
    damaged = served.replica.blobs.fetch_folder(served.store.adapters.get("v3").blob)
    (damaged / "adapter_model.safetensors").write_bytes(b"\x09")
    promote(served, "v3")
    assert served.store.rollouts.newest().status == "abandoned"
    with visit(browser, f"{address}/#/loop") as page:
        page.locator(".serving").wait_for()
        assert "v0001 answers 75 %, v0002 25 %" in " ".join(page.locator(".serving").inner_text().split())
        page.get_by_text("Given up: v0003.").wait_for()
        assert page.get_by_text("On its way").count() == 0


def test_the_gate_s_report_and_a_version_s_lineage_are_shown(
    browser: Any, served: Served, address: str
) -> None:
    run_id = running(served.store)
    served.store.runs.update(
        served.store.runs.get(run_id),
        manifest={"train": ["a", "b"], "held_out": ["c"], "live": "base", "last_sequence": 0},
    )
    adapter_row(
        served.store,
        status="held",
        run_id=run_id,
        report={"training": {"num_pairs": 2}, "gate": {**GATE, "decision": "held"}},
    )
    with visit(browser, f"{address}/#/loop/v0001") as page:
        page.get_by_text("What the gate found").click()
        report = page.locator(".report")
        report.locator("canvas").nth(2).wait_for()
        assert "40 held-out corrections, 60 uncorrected answers" in report.inner_text()
        row = version_row(page, "v0001")
        row.get_by_text("Where it comes from").click()
        row.get_by_text("2 taught, 1 judged").wait_for()
        assert "learned from 2 corrections" in row.inner_text()
        row.get_by_role("button", name="Admit").click()
        yes(page)
        row.locator(".state", has_text="admitted").wait_for()
        row.get_by_role("button", name="Retire").click()
        yes(page)
        row.locator(".state", has_text="retired").wait_for()


def test_who_may_only_chat_sees_all_and_changes_nothing(browser: Any, served: Served, address: str) -> None:
    _, secret = served.store.keys.create("person", ["chat"])
    with visit(browser, address) as page:
        page.evaluate("key => sessionStorage.setItem('errata.key', key)", secret)
        page.goto(f"{address}/#/loop")
        page.reload()
        page.get_by_role("button", name="Learn now").click()
        page.get_by_text("Only a key with the scope admin may change this.").wait_for()
    assert served.store.runs.recent() == []
