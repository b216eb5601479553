"""A run around its training: in which order things happen, and what stays where it breaks off."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from records import adapter_row, answered, claimed, correction, some_corrected
from sqlalchemy.exc import OperationalError

from align import alignment
from align.alignment import align, at_most_every, publish
from align.config import AlignmentConfig
from align.erasure import erase_correction, erase_response
from align.errors import (
    BlobsAway,
    Conflict,
    EvaluationFailed,
    InvalidAdapter,
    NotFound,
    TakenOver,
    TrainingFailed,
    TrainingStopped,
)
from align.gate import Decision, Measurements, Verdict
from align.manifest import freeze
from align.provenance import provenance_of
from align.scenes import MODEL_PATH
from align.state import Blobs, Store
from align.state.manifests import items_of
from align.steps import Metrics
from align.training import TrainingResult

CONFIG = AlignmentConfig(held_out_share=0.5, max_general=2)


def result(folder: Path, digest: str = "d1") -> TrainingResult:
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    return TrainingResult(
        str(adapter), digest, 3, (), (), {"rewards/margins": 0.5}, (0.1, 0.4, 0.6, 0.9), (), 1.23
    )


def verdict(decision: Decision) -> Verdict:
    return Verdict(decision, ("the margin grew",), (), {}, 20, 20)


@pytest.mark.parametrize("decision", ["admitted", "refused", "held"])
def test_a_result_is_published_with_its_report_whatever_the_verdict(
    store: Store, blobs: Blobs, tmp_path: Path, decision: Decision
) -> None:
    run = claimed(store)
    adapter = publish(store, blobs, run, result(tmp_path / "w"), verdict(decision), {"gate": "report"})
    assert (adapter.version, adapter.status, adapter.run_id) == ("v0001", decision, run.id)
    assert (blobs.fetch_folder(adapter.blob) / "adapter_model.safetensors").read_bytes() == b"weights"
    ended = store.runs.get(run.id)
    assert (ended.status, ended.adapter, ended.reason) == (decision, "v0001", "the margin grew")
    assert ended.report == adapter.report == {"gate": "report"}


def test_no_version_is_named_before_its_files_are_there(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claimed(store)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "put_folder", fail)
        with pytest.raises(BlobsAway, match="no space left"):
            publish(store, blobs, run, result(tmp_path / "w"), verdict("admitted"), {})
    assert store.adapters.all() == []
    assert store.runs.get(run.id).status == "running"


def test_a_run_that_was_given_up_publishes_no_version(store: Store, blobs: Blobs, tmp_path: Path) -> None:
    run = claimed(store)
    store.runs.update(run, status="failed", reason="the aligner was restarted")
    with pytest.raises(Conflict, match="ended before its adapter was published"):
        publish(store, blobs, run, result(tmp_path / "w"), verdict("admitted"), {})
    assert store.adapters.all() == []
    assert store.runs.get(run.id).reason == "the aligner was restarted"


def test_a_run_goes_from_manifest_to_verdict_and_leaves_no_workspace(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_corrected(store, blobs, 6)
    run, seen = claimed(store), []

    def run_job(
        base: str, examples: Any, config: Any, workspace: Path, report: Any, *_: Any
    ) -> TrainingResult:
        seen.append(store.runs.get(run.id))
        report({"step": 3.0, "num_steps": 3.0, "loss": 0.1})
        seen.append(store.runs.get(run.id))
        return result(workspace)

    def judge(*_: Any) -> tuple[Verdict, Measurements]:
        seen.append(store.runs.get(run.id))
        return verdict("admitted"), Measurements()

    monkeypatch.setattr(alignment, "run_job", run_job)
    monkeypatch.setattr(alignment, "judge", judge)
    workspace = tmp_path / "workspace"
    stages: list[str] = []
    adapter = align(store, blobs, run, str(MODEL_PATH), CONFIG, workspace, on_stage=stages.append)
    assert stages == ["prepare", "train", "measure", "publish"]
    assert [one.status for one in seen] == ["running", "running", "gating"]
    assert seen[0].manifest is not None
    assert len(seen[0].manifest["train"] + seen[0].manifest["held_out"]) == 6
    assert seen[0].manifest["base_digest"] == provenance_of(MODEL_PATH).base_digest
    assert seen[1].progress == {"step": 3.0, "num_steps": 3.0, "loss": 0.1}
    assert adapter.report["training"]["num_pairs"] == 3
    assert adapter.report["training"]["margin_quartiles"] == [0.1, 0.4, 0.6, 0.9]
    assert adapter.report["gate"]["decision"] == "admitted"
    assert adapter.report["gate"]["seconds"] >= 0
    report = blobs.fetch_folder(f"reports/{run.id}")
    assert json.loads((report / "report.json").read_text())["decision"] == "admitted"
    assert "<title>Admitted" in (report / "report.html").read_text()
    assert store.runs.get(run.id).status == "admitted"
    assert not workspace.exists()


def test_a_training_stops_as_soon_as_something_that_it_learns_from_is_erased(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_corrected(store, blobs, 6)
    run, steps = claimed(store), []
    monkeypatch.setattr(alignment, "_watch", partial(alignment._watch, every_s=0.0))
    is_judged = False

    def run_job(*arguments: Any) -> TrainingResult:
        should_stop = arguments[-2]
        for step in range(5):
            if should_stop():
                raise TrainingStopped(f"training was stopped after step {step}")
            steps.append(step)
            if step == 2:
                store.erasures.response("r3")
        return result(tmp_path / "never")

    def judge(*_: Any) -> tuple[Verdict, Measurements]:
        nonlocal is_judged
        is_judged = True
        return verdict("admitted"), Measurements()

    monkeypatch.setattr(alignment, "run_job", run_job)
    monkeypatch.setattr(alignment, "judge", judge)
    with pytest.raises(Conflict, match="c3 was erased during the run; one without it is asked for"):
        align(store, blobs, run, str(MODEL_PATH), CONFIG, tmp_path / "workspace")
    assert (steps, is_judged) == ([0, 1, 2], False)


@pytest.mark.parametrize("stage", ["training", "measuring"])
def test_a_cancelled_run_ends_without_an_adapter_and_leaves_no_files(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    some_corrected(store, blobs, 6)
    run, steps = claimed(store), []
    monkeypatch.setattr(alignment, "_watch", partial(alignment._watch, every_s=0.0))

    def run_job(*arguments: Any) -> TrainingResult:
        for step in range(5):
            if arguments[-2]():
                raise TrainingStopped(f"training was stopped after step {step}")
            steps.append(step)
            if step == 2 and stage == "training":
                store.runs.cancel(run.id)
        return result(arguments[3])

    def judge(*arguments: Any) -> tuple[Verdict, Measurements]:
        assert not arguments[-2]()
        store.runs.cancel(run.id)
        assert arguments[-2]()
        return verdict("admitted"), Measurements()

    monkeypatch.setattr(alignment, "run_job", run_job)
    monkeypatch.setattr(alignment, "judge", judge)
    with pytest.raises(Conflict, match="ended"):
        align(store, blobs, run, str(MODEL_PATH), CONFIG, tmp_path / "workspace")
    assert steps == ([0, 1, 2] if stage == "training" else [0, 1, 2, 3, 4])
    ended = store.runs.get(run.id)
    assert (ended.status, ended.adapter, store.adapters.all()) == ("cancelled", None, [])
    assert not (tmp_path / "workspace").exists()
    assert [*(tmp_path / "blobs").glob("adapters/*"), *(tmp_path / "blobs").glob("reports/*")] == []


def test_a_run_that_was_taken_over_leaves_its_folder_and_files_to_its_successor(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_corrected(store, blobs, 6)
    run = claimed(store)

    def judge(*_: Any) -> tuple[Verdict, Measurements]:
        store.runs.take_up(store.runs.get(run.id))
        return verdict("admitted"), Measurements()

    monkeypatch.setattr(alignment, "run_job", lambda *arguments: result(arguments[3]))
    monkeypatch.setattr(alignment, "judge", judge)
    workspace = tmp_path / "workspace"
    with pytest.raises(TakenOver):
        align(store, blobs, run, str(MODEL_PATH), CONFIG, workspace)
    assert (workspace / "adapter" / "adapter_model.safetensors").exists()
    successor = store.runs.get(run.id)
    blobs.put_folder(workspace / "adapter", "adapters/d1")  # equal runs make equal files
    with pytest.raises(TakenOver):
        publish(store, blobs, run, result(tmp_path / "zombie"), verdict("admitted"), {})
    adapter = publish(store, blobs, successor, result(tmp_path / "again"), verdict("refused"), {})
    assert (blobs.fetch_folder(adapter.blob) / "adapter_model.safetensors").read_bytes() == b"weights"


def test_a_training_goes_on_while_the_database_is_away_and_keeps_its_folder_if_it_stays_so(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_corrected(store, blobs, 6)
    run, answers = claimed(store), []
    monkeypatch.setattr(alignment, "_watch", partial(alignment._watch, every_s=0.0))

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("", {}, OSError("no route to host"))

    def run_job(*arguments: Any) -> TrainingResult:
        with monkeypatch.context() as patch:
            patch.setattr(store.erasures, "check", away)
            patch.setattr(store.runs, "update", away)
            arguments[4]({"step": 1.0, "num_steps": 3.0, "loss": 0.1})
            answers.append(arguments[-2]())
        answers.append(arguments[-2]())
        monkeypatch.setattr(store.erasures, "check", away)
        return result(arguments[3])

    monkeypatch.setattr(alignment, "run_job", run_job)
    workspace = tmp_path / "workspace"
    with pytest.raises(OperationalError, match="no route"):
        align(store, blobs, run, str(MODEL_PATH), CONFIG, workspace)
    assert answers == [False, False]
    assert (workspace / "adapter").exists()
    assert store.runs.get(run.id).status == "running"


@pytest.mark.parametrize("folder", ["reports", "adapters"])
def test_a_run_keeps_its_folder_while_the_blob_store_is_away_and_is_published_from_it(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    some_corrected(store, blobs, 6)
    run, put = claimed(store), blobs.put_folder
    monkeypatch.setattr(alignment, "run_job", lambda *arguments: result(arguments[3]))
    monkeypatch.setattr(alignment, "judge", lambda *_: (verdict("admitted"), Measurements()))

    def put_unless_away(path: Path, name: str) -> None:
        if name.startswith(folder):
            raise ConnectionError("no route to the bucket")
        put(path, name)

    workspace = tmp_path / "workspace"
    with monkeypatch.context() as patch:
        patch.setattr(blobs, "put_folder", put_unless_away)
        with pytest.raises(BlobsAway, match="no route to the bucket"):
            align(store, blobs, run, str(MODEL_PATH), CONFIG, workspace)
    assert (workspace / "adapter" / "adapter_model.safetensors").exists()
    assert store.runs.get(run.id).status == "gating"
    run = store.runs.take_up(store.runs.get(run.id))

    def get_none(digest: str) -> bytes:
        raise ConnectionError(f"no route to {digest}")

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "get_image", get_none)
        with pytest.raises(BlobsAway, match="no route to"):
            align(store, blobs, run, str(MODEL_PATH), CONFIG, workspace)
    assert (workspace / "adapter" / "adapter_model.safetensors").exists()
    monkeypatch.setattr(alignment, "run_job", lambda *_: result(tmp_path / "again"))
    assert align(store, blobs, run, str(MODEL_PATH), CONFIG, workspace).version == "v0001"
    assert not workspace.exists()


def test_the_run_after_a_deletion_learns_from_nothing_that_is_gone(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(8):
        answered(store, blobs, f"r{index}", f"pixels {index} of it".encode(), text=f"served words {index}.")
        store.corrections.add(
            correction(f"c{index}", response_id=f"r{index}", corrected_text=f"better words {index}.")
        )
    monkeypatch.setattr(alignment, "run_job", lambda *arguments: result(arguments[3]))
    monkeypatch.setattr(alignment, "judge", lambda *_: (verdict("admitted"), Measurements()))

    def learn() -> set[str]:
        run = store.runs.claim()
        assert run is not None
        align(store, blobs, run, str(MODEL_PATH), CONFIG, tmp_path / "workspace")
        return items_of(store.runs.get(run.id).manifest)

    def files() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    store.runs.request("request")
    assert {"c3", "c5"} <= learn()
    marks = [f"{kind} 3".encode() for kind in ("served words", "better words", "pixels")]
    assert [mark in files() for mark in marks] == [True] * 3
    erase_response(store, blobs, "r3")
    erase_correction(store, blobs, "c5")
    assert [run.trigger for run in store.runs.recent() if run.status == "requested"] == ["erasure"]
    again = learn()
    assert again == {f"c{index}" for index in (0, 1, 2, 4, 6, 7)}
    assert [mark in files() for mark in [*marks, b"better words 5"]] == [False] * 4
    assert [(one.version, one.may_serve) for one in store.adapters.all()] == [
        ("v0002", True),
        ("v0001", False),
    ]


def test_a_training_that_breaks_off_leaves_no_workspace_and_no_adapter(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_corrected(store, blobs, 2)
    workspace = tmp_path / "workspace"

    def run_job(base: str, examples: Any, config: Any, folder: Path, report: Any, *_: Any) -> TrainingResult:
        result(folder)
        raise TrainingFailed("the loss is no number")

    monkeypatch.setattr(alignment, "run_job", run_job)
    with pytest.raises(TrainingFailed):
        align(store, blobs, claimed(store), str(MODEL_PATH), CONFIG, workspace)
    assert not workspace.exists()
    assert store.adapters.all() == []


@pytest.mark.parametrize(
    "error",
    [
        EvaluationFailed("the evaluation was not done within 1800 s"),
        InvalidAdapter("the adapter holds weights that are not finite"),
        RuntimeError("out of memory"),
    ],
)
def test_a_candidate_that_cannot_be_measured_is_refused_with_the_reason(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    some_corrected(store, blobs, 1)

    def measure(*_: Any) -> Measurements:
        raise error

    monkeypatch.setattr(alignment, "measure", measure)
    verdict, measurements = alignment.judge(
        store, blobs, freeze(store, blobs, CONFIG), "the/base", tmp_path, CONFIG
    )
    assert verdict == Verdict("refused", (f"refused: the candidate could not be measured: {error}",))
    assert measurements == Measurements()


def test_a_live_adapter_that_is_let_go_meanwhile_is_compared_with_all_the_same(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = Blobs(f"memory://{tmp_path}", cache=tmp_path / "cache")
    some_corrected(store, blobs, 1)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    blobs.put_folder(tmp_path / "adapter", "adapters/live")
    adapter_row(store, blob="adapters/live")
    frozen = replace(freeze(store, blobs, CONFIG), live="v0001")

    def measure(base: str, live: Path, *_: Any) -> Measurements:
        blobs.forget_folder("adapters/live")  # as a replica of this machine does
        assert (live / "adapter_model.safetensors").read_bytes() == b"weights"
        return Measurements()

    monkeypatch.setattr(alignment, "measure", measure)
    assert alignment.judge(store, blobs, frozen, "the/base", tmp_path, CONFIG)[1] == Measurements()


def test_a_live_adapter_whose_files_are_gone_cannot_be_compared_with(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    some_corrected(store, blobs, 1)
    adapter_row(store, blob="adapters/gone")
    frozen = replace(freeze(store, blobs, CONFIG), live="v0001")
    with pytest.raises(NotFound, match="not in the blob store, or not whole"):
        alignment.judge(store, blobs, frozen, "the/base", tmp_path, CONFIG)


def test_steps_are_told_of_first_last_and_not_too_often_in_between() -> None:
    seldom: list[Metrics] = []
    always: list[Metrics] = []
    tell_seldom, tell_always = at_most_every(60, seldom.append), at_most_every(0, always.append)
    steps = [{"step": float(step), "num_steps": 5.0} for step in range(1, 6)]
    for metrics in steps:
        tell_seldom(metrics)
        tell_always(metrics)
    assert seldom == [steps[0], steps[4]]
    assert always == steps
