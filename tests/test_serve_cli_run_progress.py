"""A run that is followed: lines of JSON where nobody watches, a bar where somebody does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from command_line import Errata, command_line
from errata import Alignment
from rich.console import Console
from served import Served, listening, serving, wait_until

from serve.cli.run_progress import showing


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


def test_a_run_that_is_followed_says_in_lines_how_far_it_is_and_in_the_end_what_came_of_it(
    errata: Errata, served: Served
) -> None:
    """The output of a test is no terminal."""

    def train() -> None:
        wait_until(served.store.runs.recent)
        run = served.store.runs.claim()
        assert run is not None
        progress = {"step": 3, "num_steps": 9, "loss": 0.25}
        served.store.runs.update(run, progress=progress, manifest={"train": ["c1"]})
        time.sleep(3)  # three polls
        served.store.runs.update(run, status="refused", reason="the margin fell")

    trainer = threading.Thread(target=train)
    trainer.start()
    with listening(served) as address:
        status, out, _ = errata("align", "--url", f"{address}/v1")
    trainer.join()
    (run,) = served.store.runs.recent()
    asked, *lines, ended = out.splitlines()
    assert (status, asked) == (0, f"run {run.id}: requested")
    assert ended == f"run {run.id}: refused  the margin fell"
    said = [json.loads(line) for line in lines]
    assert {line["run"] for line in said} == {run.id}
    # asked for between claim and step it is running without figures; those follow as soon as they are there
    running = next(line for line in said if line["status"] == "running" and "step" in line)
    assert (running["event"], running["step"], running["num_steps"], running["loss"]) == (
        "alignment",
        3,
        9,
        0.25,
    )
    assert said[-1]["status"] == "refused"


def followed(run: dict[str, Any]) -> Alignment:
    return Alignment.model_validate(
        {"id": "run-1", "created": 1, "status": "running", "num_corrections": 1} | run
    )


def test_a_run_that_is_followed_on_a_terminal_is_a_bar_with_its_figures() -> None:
    screen = StringIO()
    with showing(Console(file=screen, force_terminal=True, width=100, color_system=None)) as show:
        show(followed({"status": "running", "progress": None}))
        show(followed({"progress": {"step": 3, "num_steps": 9, "loss": 0.25, "rewards/margins": 0.5}}))
    assert "running" in screen.getvalue()
    assert "3/9" in screen.getvalue()
    assert "loss 0.250  margin 0.500" in screen.getvalue()


def test_lines_come_at_every_change_of_the_status_at_the_first_figures_and_seldom_in_between() -> None:
    file = StringIO()
    with showing(Console(file=file), lines_every_s=60) as show:
        show(followed({"progress": None}))
        for step in (1, 2, 3):
            show(followed({"progress": {"step": step}}))
        show(followed({"status": "gating", "progress": {"num_pairs": 4, "warnings": ["words"]}}))
    begun, first, second = map(json.loads, file.getvalue().splitlines())
    assert begun["status"] == "running"
    assert "step" not in begun
    assert (first["status"], first["step"]) == ("running", 1)
    assert (second["status"], second["num_pairs"]) == ("gating", 4)
    assert "warnings" not in second
