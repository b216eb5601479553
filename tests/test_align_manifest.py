"""A manifest says all that a run needs: it goes on by it after a crash, and can be repeated by it at any time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corrections import accepted_answers, corrections
from records import claimed, corrected, correction, served
from sqlalchemy import update
from structlog.testing import capture_logs
from tiny_models import tiny_llava

from align.alignment import align
from align.config import AlignmentConfig, GateConfig, LoraSettings, TrainingConfig
from align.errors import Conflict, Outdated, TrainingStopped
from align.job import run_job
from align.manifest import freeze, thaw
from align.provenance import provenance_of
from align.state import Blobs, Run, Store, schema

pytestmark = pytest.mark.every_database

CONFIG = AlignmentConfig(
    training=TrainingConfig(
        lora=LoraSettings(rank=4), learning_rate=5e-3, num_epochs=2, batch_size=2, checkpoint_every=1000
    ),
    gate=GateConfig(max_new_tokens=4, num_resamples=100),
    held_out_share=0.3,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


@pytest.fixture
def filled(base: Path, store: Store, blobs: Blobs) -> Store:
    """Ten corrections, and three answers that nobody corrected."""
    corrected(store, blobs, corrections(base, 10))
    for number, example in enumerate(accepted_answers(base, 3, start=50)):
        served(store, blobs, replace(example, id=f"accepted{number}"))
    return store


def manifest_of(store: Store, blobs: Blobs, base: Path) -> dict[str, Any]:
    """As it comes back from the database."""
    manifest = freeze(store, blobs, CONFIG).manifest(str(base), provenance_of(base), CONFIG)
    read: dict[str, Any] = json.loads(json.dumps(manifest))
    return read


def test_what_a_manifest_names_is_what_was_frozen_whatever_came_later(
    base: Path, filled: Store, blobs: Blobs
) -> None:
    frozen, manifest = freeze(filled, blobs, CONFIG), manifest_of(filled, blobs, base)
    corrected(filled, blobs, corrections(base, 4, start=20))
    filled.corrections.add(correction("second thoughts", response_id=f"r-{frozen.train[0].id}"))
    thawed = thaw(filled, blobs, manifest)
    assert list(thawed.train) == list(frozen.train)
    assert list(thawed.held_out) == list(frozen.held_out)
    assert len(frozen.general) == 3
    assert list(thawed.general) == list(frozen.general)
    assert thawed.manifest(str(base), provenance_of(base), CONFIG) == manifest


def test_a_run_is_reproducible_from_its_manifest(
    base: Path, filled: Store, blobs: Blobs, tmp_path: Path
) -> None:
    """By what its row says, and nothing else: corrections and settings have changed since."""
    manifest = manifest_of(filled, blobs, base)
    first = run_job(base, freeze(filled, blobs, CONFIG).train, CONFIG.training, tmp_path / "first")
    corrected(filled, blobs, corrections(base, 4, start=20))
    config = AlignmentConfig.model_validate(manifest["config"])
    again = run_job(
        manifest["base"], thaw(filled, blobs, manifest).train, config.training, tmp_path / "again"
    )
    assert again.digest == first.digest
    assert again.history == first.history


def test_a_manifest_of_which_something_was_erased_is_used_no_more(
    base: Path, filled: Store, blobs: Blobs
) -> None:
    manifest = manifest_of(filled, blobs, base)
    filled.erasures.correction(manifest["held_out"][0])
    with pytest.raises(Conflict, match=rf"{manifest['held_out'][0]} of this run's manifest was erased since"):
        thaw(filled, blobs, manifest)


def test_nor_is_one_of_which_an_answer_has_expired(filled: Store, blobs: Blobs, base: Path) -> None:
    manifest = manifest_of(filled, blobs, base)
    first = manifest["general"][0]
    filled.expiry.responses(before=filled.responses.get(first).created + 1.0, limit=1000)
    assert filled.responses.get(first).is_erased
    with pytest.raises(Outdated, match="of this run's manifest was erased since"):
        thaw(filled, blobs, manifest)


def test_a_correction_that_was_rejected_meanwhile_is_not_learned(
    base: Path, filled: Store, blobs: Blobs
) -> None:
    manifest = manifest_of(filled, blobs, base)
    with filled.database.write() as connection:
        connection.execute(
            update(schema.corrections)
            .values(status="rejected")
            .where(schema.corrections.c.id == manifest["train"][1])
        )
    with pytest.raises(Conflict, match=f"correction {manifest['train'][1]} is rejected by now"):
        thaw(filled, blobs, manifest)


def stopped(store: Store, blobs: Blobs, base: Path, workspace: Path) -> Run:
    """A run that was stopped in mid-training, taken up again."""
    asked: list[None] = []

    def after_the_second_step() -> bool:
        asked.append(None)
        return len(asked) == 2

    run = claimed(store)
    with pytest.raises(TrainingStopped, match="after step 2 of"):
        align(store, blobs, run, str(base), CONFIG, workspace, after_the_second_step)
    assert store.runs.get(run.id).status == "running"
    assert (workspace / "checkpoints" / "00000002.safetensors").exists()
    return store.runs.take_up(store.runs.get(run.id))


def test_a_run_that_was_stopped_ends_with_the_adapter_of_an_undisturbed_one(
    base: Path, filled: Store, blobs: Blobs, tmp_path: Path
) -> None:
    whole = run_job(base, freeze(filled, blobs, CONFIG).train, CONFIG.training, tmp_path / "whole")
    run = stopped(filled, blobs, base, tmp_path / "run")
    corrected(filled, blobs, corrections(base, 4, start=20))
    other_settings = CONFIG.model_copy(
        update={"training": TrainingConfig(num_epochs=9), "held_out_share": 0.9}
    )
    with capture_logs() as logs:
        adapter = align(filled, blobs, run, str(base), other_settings, tmp_path / "run")
    ended = filled.runs.get(run.id)
    assert adapter.digest == whole.digest
    assert ended.manifest == run.manifest
    assert (ended.status, ended.adapter, ended.attempts) == ("refused", "v0001", 2)
    assert not (tmp_path / "run").exists()
    lines = [line for line in logs if line["event"] == "training"]
    assert [line["step"] for line in lines] == [3, whole.history[-1]["num_steps"]]
    words = {name: value for name, value in lines[0].items() if isinstance(value, str)}
    assert words == {"event": "training", "log_level": "info", "run": run.id}, "figures, and nobody's words"


def test_a_run_goes_on_only_with_the_model_it_began_with(
    base: Path, filled: Store, blobs: Blobs, tmp_path: Path
) -> None:
    run = stopped(filled, blobs, base, tmp_path / "run")
    assert run.manifest is not None
    other = replace(run, manifest={**run.manifest, "base_digest": "another"})
    with pytest.raises(Conflict, match="base_digest changed since the run began; another run is needed"):
        align(filled, blobs, other, str(base), CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()
