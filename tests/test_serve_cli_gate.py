"""`errata gate` and `errata eval`: verdicts shown and given once more, and versions measured on known pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from command_line import Errata, command_line, complaint, document
from fake_engine import FakeEngine
from records import adapter_row, corrected, served
from served import listening, serving
from transformers.utils import logging

from align.alignment import align
from align.config import AlignmentConfig, GateConfig, LoraSettings, TrainingConfig
from align.scenes import MODEL_PATH
from align.scenes.evaluate import evaluation_scenes, measure
from align.state import Adapter, Blobs, Store
from benchmarks.scenes import accepted_answers, simulated_corrections
from serve.settings import Settings

CONFIG = AlignmentConfig(
    training=TrainingConfig(lora=LoraSettings(rank=4), num_epochs=1),
    gate=GateConfig(num_resamples=100, min_items=2, min_general_items=2),
    held_out_share=0.3,
)


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's folder after its first run."""
    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("judged")
    settings = Settings(state=folder / "state")
    store, blobs = Store(settings.database_url), Blobs(settings.blobs_url, cache=folder / "cache")
    corrected(store, blobs, [example for example, _ in simulated_corrections(str(MODEL_PATH), 16)])
    for number, example in enumerate(accepted_answers(str(MODEL_PATH), 3)):
        served(store, blobs, replace(example, id=f"accepted{number}"))
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    align(store, blobs, run, str(MODEL_PATH), CONFIG, folder / "run")
    store.close()
    return settings.state


@pytest.fixture
def judged(state: Path) -> Iterator[Adapter]:
    store = Store(Settings(state=state).database_url)
    yield store.adapters.get("v0001")
    store.close()


def test_a_verdict_is_given_once_more_and_is_the_same(errata: Errata, state: Path, judged: Adapter) -> None:
    kept = {name: value for name, value in judged.report["gate"].items() if name != "seconds"}
    again = document(
        errata("gate", "v1", "--again", "--state", state, "--json"), 0 if judged.may_serve else 1
    )
    assert again["decision"] == kept["decision"]
    assert again["comparisons"], "it was measured"
    assert again == kept


def test_a_version_beside_itself_changes_nothing_and_beside_the_base_it_is_as_before(
    errata: Errata, state: Path, judged: Adapter
) -> None:
    words = ("gate", "v0001", "--again", "--state", state)
    status, shown, _ = errata(*words, "--against", "v1")
    assert (status, shown.startswith("v0001 refused\n")) == (1, True)
    assert "the adapter changes nothing" in shown
    again = document(errata(*words, "--against", "base", "--json"), 0 if judged.may_serve else 1)
    assert again["comparisons"] == judged.report["gate"]["comparisons"]


def test_other_bounds_give_another_verdict_and_leave_the_first_as_it_was(
    errata: Errata, state: Path, judged: Adapter, tmp_path: Path
) -> None:
    bounds = GateConfig(min_items=50, num_resamples=100)
    config = tmp_path / "strict.json"
    config.write_text(json.dumps({"alignment": {"gate": bounds.model_dump()}}))
    again = document(errata("gate", "v1", "--again", "--config", config, "--state", state, "--json"), 1)
    assert "50" in again["reasons"][0]
    assert again["reasons"] != judged.report["gate"]["reasons"]
    store = Store(Settings(state=state).database_url)
    assert store.adapters.get("v1") == judged
    store.close()


def test_what_cannot_be_judged_is_one_line(errata: Errata, state: Path) -> None:
    assert "no adapter 'v9'" in complaint(errata("gate", "v9", "--again", "--state", state))
    assert "no adapter version" in complaint(errata("gate", "latest", "--again", "--state", state))
    assert "there is no server's state" in complaint(
        errata("gate", "v1", "--again", "--state", state / "typo")
    )
    assert "go with --again" in complaint(errata("gate", "v1", "--against", "base"))


def test_a_verdict_is_shown_as_the_server_keeps_it(
    errata: Errata, tmp_path: Path, judged: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    admitted = {"decision": "admitted", "reasons": ["admitted: [better]"]}
    with serving(tmp_path) as server, listening(server) as address:
        adapter_row(server.store, report=judged.report)
        adapter_row(server.store, report={"gate": admitted})
        adapter_row(server.store)
        url = ("--url", address)
        status, shown, _ = errata("gate", "v1", *url)
        assert status == (0 if judged.may_serve else 1)
        assert "general.divergence" in shown
        assert re.search(r"\d+ held-out corrections, 3 uncorrected answers", shown)
        assert document(errata("gate", "v2", "--json", *url)) == admitted
        assert "admitted: [better]" in errata("gate", "v2", *url)[1]
        assert "nothing is kept of a verdict on v3" in complaint(errata("gate", "v3", *url))


def test_versions_are_measured_on_pictures_whose_contents_are_known(errata: Errata, tmp_path: Path) -> None:
    answers = {"base": "There is a red cup. There is a dog.", "v0001": "There is a table."}
    with (
        serving(tmp_path, FakeEngine(answers=answers, max_model_len=512)) as server,
        listening(server) as address,
    ):
        words = ("eval", "--scenes", "20", "--url", address)
        found = document(errata(*words, "base", "--json"))
        expected = measure([answers["base"]] * 20, evaluation_scenes("honest", "test", 20))
        assert found == {"base": json.loads(json.dumps(asdict(expected)))}
        _, shown, _ = errata(*words)
        share = f"{expected.hallucinated.value:.1%}"
        assert share in shown
        assert "wrong object" in " ".join(shown.split())
        assert {adapter for _, adapter in server.engine.submitted} == {"base"}
        assert all(sampling.temperature == 0 for sampling, _ in server.engine.submitted)
        assert complaint(errata(*words, "v9")).startswith("v0009 is not loaded")
