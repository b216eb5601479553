"""The aligner: starts a run exactly when it is due or asked for, and outlives every failure."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aligners import MakeAligner, correct, ending, failing
from corrections import corrections
from records import corrected, correction, response
from served import wait_until
from tiny_models import tiny_llava

from align import alignment as module
from align.config import LoraSettings, TrainingConfig
from align.errors import BlobsAway, Conflict, NotFound, NothingToLearn, Outdated
from align.state import Adapter, Blobs, Store
from serve.aligner import Aligner
from serve.settings import AlignmentSettings, Settings


def test_a_run_is_due_with_the_last_of_so_many_corrections(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", ending("refused"))
    correct(store, 2)
    assert aligner.step() is None
    correct(store, 1)
    run = aligner.step()
    assert run is not None
    assert (run.trigger, run.status) == ("count", "refused")
    assert aligner.step() is None, "these corrections have had their run"
    correct(store, 2)
    assert aligner.step() is None
    correct(store, 1)
    assert aligner.step() is not None


def test_what_does_not_teach_does_not_count(aligner: Aligner, store: Store) -> None:
    correct(store, 2)
    correct(store, 5, status="nothing_wrong")
    correct(store, 5, status="quarantined")
    store.corrections.add(correction("again", response_id="r0"))
    assert aligner.step() is None


def test_a_run_is_done_when_it_is_asked_for(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", ending("refused"))
    asked = store.runs.request("request")
    run = aligner.step()
    assert run is not None
    assert (run.id, run.trigger) == (asked.id, "request")
    assert aligner.step() is None


def test_a_run_waits_longer_each_time_while_the_blobs_are_away_and_is_given_up_at_last(
    aligner: Aligner, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    monkeypatch.setattr(aligner._stop, "wait", rests.append)
    monkeypatch.setattr(module, "align", failing(BlobsAway("no route to the bucket")))
    asked = store.runs.request("request")
    num_attempts = 1 + settings.alignment.training.max_restarts
    for attempt in range(1, num_attempts + 1):
        aligner.step()
        assert (store.runs.get(asked.id).status, store.runs.get(asked.id).attempts) == ("running", attempt)
    aligner.step()
    assert store.runs.get(asked.id).status == "failed"
    assert rests == [60.0 * number for number in range(1, num_attempts)], "none before it is given up"


def test_a_run_that_broke_off_because_the_blobs_were_away_ends_when_they_are_back(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aligner._stop, "wait", lambda _: False)
    monkeypatch.setattr(module, "align", failing(BlobsAway("no route to the bucket")))
    asked = store.runs.request("request")
    aligner.step()
    monkeypatch.setattr(module, "align", ending("refused"))
    aligner.step()
    assert store.runs.get(asked.id).status == "refused"


def test_align_is_given_the_servers_model_settings_and_a_folder_of_the_runs_own(
    aligner: Aligner, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def align(*arguments: Any) -> Adapter:
        given.extend(arguments)
        return ending("refused")(*arguments)

    monkeypatch.setattr(module, "align", align)
    run = store.runs.request("request")
    aligner.step()
    assert given[2].id == run.id
    assert given[2].status == "running"
    assert given[3:6] == [settings.model, settings.alignment, settings.state / "runs" / run.id]
    assert given[6]() is False


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NothingToLearn("there is no accepted correction yet"), "there is no accepted correction yet"),
        (MemoryError("32 GiB"), "MemoryError: 32 GiB"),
    ],
)
def test_a_failure_is_recorded_and_the_aligner_lives_on(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(module, "align", failing(error))
    store.runs.request("request")
    run = aligner.step()
    assert run is not None
    assert (run.status, run.reason) == ("failed", reason)
    monkeypatch.setattr(module, "align", ending("refused"))
    store.runs.request("request")
    assert aligner.step() is not None


def test_corrections_that_made_a_run_fail_do_not_start_another_by_themselves(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", failing(RuntimeError("image 12 is damaged")))
    correct(store, 3)
    run = aligner.step()
    assert run is not None
    assert run.status == "failed"
    assert aligner.step() is None
    correct(store, 3)
    assert aligner.step() is not None


def test_a_run_that_cannot_go_on_as_it_began_is_followed_by_another(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade, say: its corrections are not lost for teaching."""
    monkeypatch.setattr(module, "align", failing(Outdated("code_version changed since the run began")))
    store.runs.request("erasure")
    run = aligner.step()
    assert run is not None
    assert (run.status, run.reason) == ("failed", "code_version changed since the run began")
    monkeypatch.setattr(module, "align", ending("refused"))
    following = aligner.step()
    assert following is not None
    assert (following.id != run.id, following.trigger) == (True, "erasure")


def test_the_corrections_of_a_cancelled_run_do_not_start_the_next_one(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def align(*arguments: Any) -> Adapter:
        store.runs.cancel(arguments[2].id)
        raise Conflict("it was ended meanwhile")

    monkeypatch.setattr(module, "align", align)
    correct(store, 3)
    run = aligner.step()
    assert run is not None
    assert (run.trigger, run.status, run.reason) == ("count", "cancelled", "cancelled on request")
    assert aligner.step() is None
    correct(store, 3)
    assert aligner.step() is not None


def test_words_that_a_killed_run_left_in_its_folder_are_removed_when_it_has_ended(
    make_aligner: MakeAligner, settings: Settings
) -> None:
    left = settings.state / "runs" / "run-1" / "examples.json"
    left.parent.mkdir(parents=True)
    left.write_text("the neighbour's licence plate")
    aligner = make_aligner()
    aligner.start()
    wait_until(lambda: not left.parent.exists())
    assert aligner.is_alive


def test_a_run_that_is_cancelled_in_mid_training_ends_within_seconds(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    """A real training on a tiny model, which would go on for a thousand epochs."""
    base = tiny_llava(tmp_path / "base")
    training = TrainingConfig(
        lora=LoraSettings(rank=4), num_epochs=1000, batch_size=2, num_workers=0, learning_rate=1e-6
    )
    alignment = AlignmentSettings(min_corrections=6, poll_s=0.01, training=training)
    settings = settings.model_copy(update={"model": str(base), "alignment": alignment})
    blobs = Blobs(settings.blobs_url, cache=tmp_path / "cache")
    corrected(store, blobs, corrections(base, 6))
    aligner = Aligner(settings)
    aligner.start()
    wait_until(lambda: [run for run in store.runs.recent() if run.progress is not None], 120)
    (run,) = store.runs.recent()
    assert (run.trigger, run.status) == ("count", "running")
    store.runs.cancel(run.id)
    wait_until(lambda: not (settings.state / "runs" / run.id).exists(), 60)
    ended = store.runs.get(run.id)
    assert (ended.status, ended.reason) == ("cancelled", "cancelled on request")
    assert store.adapters.all() == []
    assert store.runs.recent() == [ended], "its corrections start no other one"
    assert aligner.is_alive
    aligner.stop()


def test_images_of_a_deletion_that_was_cut_off_are_removed_at_the_next_start(
    make_aligner: MakeAligner, settings: Settings, store: Store
) -> None:
    blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
    digest = blobs.put_image(b"image")
    parts = [{"type": "image", "sha256": digest}]
    store.responses.add(response("r1", conversation=[{"role": "user", "content": parts}]))
    store.erasures.response("r1")
    assert blobs.get_image(digest) == b"image"

    def is_removed() -> bool:
        with suppress(NotFound):
            return not blobs.get_image(digest)
        return True

    make_aligner().start()
    wait_until(is_removed)


def test_a_database_error_in_one_step_does_not_end_the_thread(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligner = make_aligner()
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("disk I/O error")

    monkeypatch.setattr(aligner, "step", fail)
    aligner.start()
    wait_until(failed.is_set)
    failed.clear()
    wait_until(failed.is_set)
    assert aligner.is_alive
