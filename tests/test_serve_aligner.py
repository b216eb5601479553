"""The aligner: starts a run exactly when it is due or asked for, outlives every failure, proposes what was admitted."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from corrections import corrections
from records import adapter_row, corrected, correction, response
from served import wait_until
from sqlalchemy.exc import OperationalError
from tiny_models import tiny_llava

from align.config import GateConfig, LoraSettings, TrainingConfig
from align.errors import Conflict, NotFound, NothingToLearn, TakenOver, TrainingStopped
from align.job import run_job
from align.manifest import freeze
from align.state import Adapter, Blobs, Failure, Run, Store
from serve import aligner as module
from serve.aligner import Aligner
from serve.rollout_settings import CanarySettings, RolloutSettings
from serve.settings import AlignmentSettings, Settings

Align = Callable[..., Adapter]
MakeAligner = Callable[..., Aligner]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path, alignment=AlignmentSettings(min_corrections=3, poll_s=0.01))


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.database_url)
    yield store
    store.close()


@pytest.fixture
def make_aligner(settings: Settings, store: Store) -> Iterator[MakeAligner]:
    """With other settings by name; its threads end with the test, however that ends. The first has the lease."""
    with ExitStack() as stack:

        def make(lease_s: float = 600.0, **changes: Any) -> Aligner:
            aligner = Aligner(settings.model_copy(update=changes), lease_s)
            stack.callback(aligner.stop)
            aligner.lease.step()
            return aligner

        yield make


@pytest.fixture
def aligner(make_aligner: MakeAligner) -> Aligner:
    return make_aligner()


def correct(store: Store, number: int, status: str = "accepted") -> None:
    start = len(store.corrections.page(1000))
    for index in range(start, start + number):
        store.responses.add(response(f"r{index}"))
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}", status=status))


def ending(status: str) -> Align:
    """An `align` that ends at once, with an adapter like the real one's."""

    def align(store: Store, blobs: Blobs, run: Run, base: str, config: Any, *_: Any) -> Adapter:
        last = max((correction.sequence for correction, _ in store.corrections.trainable()), default=0)
        store.runs.update(run, manifest={"last_sequence": last})
        return adapter_row(store, status=status, run=run)

    return align


def failing(error: Exception) -> Align:
    def align(*_: Any) -> Adapter:
        raise error

    return align


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


def test_an_admitted_adapter_is_proposed(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", ending("admitted"))
    store.runs.request("request")
    aligner.step()
    assert (store.rollouts.newest().live, store.rollouts.newest().status) == ("v0001", "preparing")


def test_an_admitted_adapter_starts_as_a_candidate_where_a_share_is_set(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = CanarySettings(share=0.05, num_answers=300)
    aligner = make_aligner(rollout=RolloutSettings(canary=canary))
    monkeypatch.setattr(module, "align", ending("admitted"))
    store.runs.request("request")
    aligner.step()
    newest = store.rollouts.newest()
    assert (newest.live, newest.candidate, newest.share, newest.as_terms) == (
        "base",
        "v0001",
        0.05,
        canary.terms,
    )


def test_a_worse_candidate_is_rolled_back_by_the_running_aligner(
    make_aligner: MakeAligner, store: Store
) -> None:
    canary = CanarySettings(look_s=0.0)
    adapter_row(store)
    generation = store.rollouts.propose("base", "v0001", 0.1, terms=canary.terms).generation
    store.rollouts.commit(generation, 0.0)
    for number in range(90):
        store.responses.add(response(f"r{number}", generation=generation))
    for number in range(9):
        store.outcomes.add_failure(Failure(f"f{number}", 2.0, "v0001", generation, "engine"))
    aligner = make_aligner(rollout=RolloutSettings(canary=canary))
    aligner.start()
    wait_until(lambda: store.rollouts.newest().generation == generation + 1)
    aligner.stop()
    assert store.rollouts.newest().candidate is None
    assert "rolled back: v0001 has 9 of 9 answers failed" in str(store.rollouts.newest().reason)


@pytest.mark.parametrize("status", ["refused", "held", "failed"])
def test_what_was_not_admitted_is_not_proposed(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr(module, "align", ending(status))
    store.runs.request("request")
    aligner.step()
    assert store.rollouts.newest().generation == 0


def test_without_auto_promote_nothing_is_proposed(
    make_aligner: MakeAligner, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    alignment = settings.alignment.model_copy(update={"auto_promote": False})
    aligner = make_aligner(alignment=alignment)
    monkeypatch.setattr(module, "align", ending("admitted"))
    store.runs.request("request")
    run = aligner.step()
    assert run is not None
    assert run.status == "admitted"
    assert store.rollouts.newest().generation == 0


def test_a_run_that_has_ended_already_proposes_nothing_when_it_ends_after_all(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def align(*arguments: Any) -> Adapter:
        store.runs.update(arguments[2], status="failed", reason="restarted")
        return ending("admitted")(*arguments)

    monkeypatch.setattr(module, "align", align)
    store.runs.request("request")
    run = aligner.step()
    assert run is not None
    assert run.status == "failed"
    assert store.rollouts.newest().generation == 0


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


def test_a_promotion_waits_for_one_that_is_under_way(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_row(store)
    other = store.rollouts.propose("v0001")
    monkeypatch.setattr(module, "align", ending("admitted"))
    store.runs.request("request")
    stepping = threading.Thread(target=aligner.step)
    stepping.start()
    wait_until(lambda: store.runs.recent()[0].status == "admitted")
    stepping.join(0.1)
    assert stepping.is_alive()
    store.rollouts.abandon(other.generation, "no")
    stepping.join(20)
    assert (store.rollouts.newest().live, store.rollouts.newest().status) == ("v0002", "preparing")


def test_a_promotion_that_waits_ends_when_its_adapter_is_retired(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_row(store)
    store.rollouts.propose("v0001")
    monkeypatch.setattr(module, "align", ending("admitted"))
    store.runs.request("request")
    stepping = threading.Thread(target=aligner.step)
    stepping.start()
    wait_until(lambda: store.runs.recent()[0].status == "admitted")
    store.adapters.retire("v0002")
    stepping.join(20)
    assert not stepping.is_alive()
    assert store.rollouts.newest().live == "v0001"


def test_what_is_tainted_before_it_is_proposed_is_not_proposed(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def align(*arguments: Any) -> Adapter:
        adapter = ending("admitted")(*arguments)
        with store.database.write() as connection:
            connection.exec_driver_sql("UPDATE adapters SET tainted = 1.0")
        return adapter

    monkeypatch.setattr(module, "align", align)
    store.runs.request("request")
    assert aligner.step() is not None
    assert store.rollouts.newest().generation == 0


def left_by_a_dead_aligner(store: Store, attempts: int = 1) -> Run:
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    store.runs.update(run, attempts=attempts)
    return run


def test_a_new_aligner_goes_on_with_what_a_dead_one_left_before_it_begins_another(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Run] = []

    def align(*arguments: Any) -> Adapter:
        given.append(arguments[2])
        return ending("refused")(*arguments)

    monkeypatch.setattr(module, "align", align)
    left = left_by_a_dead_aligner(store)
    waiting = store.runs.request("request")
    aligner = make_aligner()
    aligner.start()
    assert aligner.is_alive
    wait_until(lambda: store.runs.get(waiting.id).is_ended)
    assert [run.id for run in given] == [left.id, waiting.id]
    assert [run.attempts for run in given] == [2, 1]
    assert store.runs.get(left.id).status == "refused"
    aligner.stop()
    assert not aligner.is_alive


def test_a_run_during_which_every_aligner_dies_is_given_up_with_its_words_removed(
    make_aligner: MakeAligner, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", failing(AssertionError("it was begun again")))
    left = left_by_a_dead_aligner(store, attempts=1 + settings.alignment.training.max_restarts)
    words = settings.state / "runs" / left.id / "examples.json"
    words.parent.mkdir(parents=True)
    words.write_text("the neighbour's licence plate")
    aligner = make_aligner()
    aligner.start()
    wait_until(lambda: store.runs.get(left.id).is_ended)
    aligner.stop()
    ended = store.runs.get(left.id)
    assert (ended.status, ended.reason) == (
        "failed",
        "the aligner died 4 times during this run; its log says of what. Ask for another one",
    )
    assert not words.parent.exists()


def test_a_run_that_is_stopped_with_its_aligner_stays_under_way_and_counts_as_no_failure(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def align(*arguments: Any) -> Adapter:
        begun.set()
        wait_until(arguments[6])
        raise TrainingStopped("training was stopped after step 3 of 8")

    monkeypatch.setattr(module, "align", align)
    run = store.runs.request("request")
    aligner = make_aligner()
    aligner.start()
    wait_until(begun.is_set)
    aligner.stop()
    assert not aligner.is_alive
    assert store.runs.get(run.id).status == "running"
    assert store.runs.take_up(store.runs.get(run.id)).attempts == 1


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


def test_one_that_stands_by_removes_what_a_run_left_with_it_and_not_what_the_run_under_way_needs(
    make_aligner: MakeAligner, settings: Settings, store: Store
) -> None:
    working, standing_by = make_aligner(), make_aligner()
    assert (working.lease.is_held, standing_by.lease.is_held) == (True, False)
    folders = settings.state / "runs"
    needed = folders / left_by_a_dead_aligner(store).id
    for folder in (needed, folders / "run-1"):
        folder.mkdir(parents=True)
    standing_by.start()
    wait_until(lambda: list(folders.iterdir()) == [needed])


def test_of_two_aligners_one_works_until_it_stops_and_then_the_other(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done_with: list[Store] = []

    def align(own_store: Store, *arguments: Any) -> Adapter:
        done_with.append(own_store)
        return ending("refused")(own_store, *arguments)

    def do_one() -> None:
        run = store.runs.request("request")
        wait_until(lambda: store.runs.get(run.id).is_ended)

    monkeypatch.setattr(module, "align", align)
    first, second = make_aligner(), make_aligner(lease_s=3.0)
    second.start()
    first.start()
    for _ in range(3):
        do_one()
    assert not second.lease.is_held
    first.stop()
    do_one()
    assert done_with == [first._store] * 3 + [second._store]
    assert second.is_alive


def test_an_aligner_that_was_away_while_another_did_its_run_publishes_and_promotes_nothing(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot reach the database, and its run is too busy to be told so in time."""
    away, taken_up, given_away = threading.Event(), threading.Event(), threading.Event()
    asked_to_stop: list[bool] = []

    def align(own_store: Store, *arguments: Any) -> Adapter:
        if arguments[1].attempts > 1:
            taken_up.set()
            wait_until(given_away.is_set)
            return ending("refused")(own_store, *arguments)
        away.set()
        wait_until(taken_up.is_set)
        asked_to_stop.append(arguments[5]())
        try:
            return adapter_row(own_store, status="admitted", run=arguments[1])
        except TakenOver:
            given_away.set()
            raise

    monkeypatch.setattr(module, "align", align)
    zombie, successor = make_aligner(lease_s=1.0), make_aligner(lease_s=1.0)
    run = store.runs.request("request")
    zombie.start()
    wait_until(away.is_set)
    no_route = OperationalError("", {}, OSError("no route to host"))
    monkeypatch.setattr(zombie._store.leases, "take", failing(no_route))
    successor.start()
    wait_until(lambda: store.runs.get(run.id).is_ended)
    ended = store.runs.get(run.id)
    assert (ended.status, ended.adapter, ended.attempts) == ("refused", "v0001", 2)
    assert asked_to_stop == [True]
    assert (zombie.lease.is_held, successor.lease.is_held) == (False, True)
    assert [adapter.run_id for adapter in store.adapters.all()] == [run.id]
    assert store.rollouts.newest().generation == 0
    assert zombie.is_alive


def test_a_run_that_breaks_off_because_the_database_is_away_is_taken_up_when_it_is_back(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def align(*arguments: Any) -> Adapter:
        attempts.append(arguments[2].attempts)
        if len(attempts) == 1:
            raise OperationalError("", {}, OSError("the server closed the connection"))
        return ending("refused")(*arguments)

    monkeypatch.setattr(module, "align", align)
    run = store.runs.request("request")
    make_aligner().start()
    wait_until(lambda: store.runs.get(run.id).is_ended)
    assert (store.runs.get(run.id).status, attempts) == ("refused", [1, 2])


KILLED = """
import json, sys, time
from align import alignment
from serve.aligner import Aligner
from serve.settings import Settings

def slow_after_the_first_checkpoint(metrics):
    time.sleep(60 * (metrics["step"] == 2))

alignment._reporter = lambda store, run: slow_after_the_first_checkpoint
Aligner(Settings.model_validate_json(sys.argv[1]), lease_s=5.0).start()
time.sleep(600)
"""


def test_an_aligner_killed_in_mid_training_has_a_successor_that_ends_the_run(
    make_aligner: MakeAligner, settings: Settings, store: Store, tmp_path: Path
) -> None:
    """Killed for real, on a tiny model; its run ends with the adapter that an undisturbed one makes.

    The successor is there before, and stands by.
    """
    base = tiny_llava(tmp_path / "base")
    training = TrainingConfig(
        lora=LoraSettings(rank=4), num_epochs=2, batch_size=2, checkpoint_every=1, num_workers=0
    )
    gate = GateConfig(max_new_tokens=4, num_resamples=100)
    alignment = AlignmentSettings(min_corrections=6, poll_s=0.01, training=training, gate=gate)
    changes = {"model": str(base), "alignment": alignment}
    settings = settings.model_copy(update=changes)
    blobs = Blobs(settings.blobs_url, cache=tmp_path / "cache")
    corrected(store, blobs, corrections(base, 6))
    whole = run_job(base, freeze(store, blobs, alignment).train, training, tmp_path / "whole")

    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = {paths}\n{KILLED}",
            settings.model_dump_json(),
        ],
    )
    wait_until(lambda: list(settings.state.glob("runs/*/checkpoints/00000001.safetensors")), 120)
    aligner = make_aligner(lease_s=5.0, **changes)
    aligner.start()
    (left,) = store.runs.under_way()
    assert not aligner.lease.is_held
    assert (left.status, left.attempts) == ("running", 1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: store.runs.get(left.id).is_ended, 120)
    aligner.stop()
    ended = store.runs.get(left.id)
    assert (ended.status, ended.adapter, ended.attempts) == ("refused", "v0001", 2), ended.reason
    assert ended.report is not None
    assert store.adapters.get("v0001").digest == whole.digest
    assert not (settings.state / "runs" / left.id).exists()


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
