"""Two aligners, one beside the other or one after it: what one leaves the next one takes up, and only one works."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from aligners import MakeAligner, ending, failing, left_by_a_dead_aligner
from corrections import corrections
from records import adapter_row, corrected
from served import wait_until
from sqlalchemy.exc import OperationalError
from tiny_models import tiny_llava

from align import alignment as module
from align.config import GateConfig, LoraSettings, TrainingConfig
from align.errors import TakenOver, TrainingStopped
from align.job import run_job
from align.manifest import freeze
from align.state import Adapter, Blobs, Run, Store
from serve.settings import AlignmentSettings, Settings


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
        "it broke off 4 times, as when an aligner dies; the log says why. Ask for another run",
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


def test_a_lone_aligner_that_is_started_again_after_its_death_does_not_wait_for_its_own_lease(
    make_aligner: MakeAligner,
) -> None:
    dead = make_aligner()
    dead._name.close()  # as the kernel does it
    assert make_aligner().lease.is_held
    assert not make_aligner().lease.is_held, "the one before it lives"


def test_one_that_looks_for_work_less_often_than_its_lease_is_long_keeps_it(
    make_aligner: MakeAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligner = make_aligner(lease_s=6.0, alignment=AlignmentSettings(poll_s=60.0))
    renewals: list[bool] = []
    take = aligner._store.leases.take

    def count(*arguments: Any) -> bool:
        renewals.append(take(*arguments))
        return renewals[-1]

    monkeypatch.setattr(aligner._store.leases, "take", count)
    aligner.start()
    wait_until(lambda: len(renewals) >= 3)
    assert all(renewals)
    assert (aligner.lease.is_held, aligner.lease.num_taken) == (True, 1)


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
            wait_until(lambda: own_store.runs.get(arguments[1].id).attempts == 1)  # nobody has died of it
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
    assert (ended.status, ended.adapter, ended.attempts) == ("refused", "v0001", 1)
    assert asked_to_stop == [True]
    assert (zombie.lease.is_held, successor.lease.is_held) == (False, True)
    assert [adapter.run_id for adapter in store.adapters.all()] == [run.id]
    assert store.rollouts.newest().generation == 0
    assert zombie.is_alive


def test_a_run_that_breaks_off_because_the_database_is_away_is_taken_up_however_often_that_happens(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []
    lost = OperationalError("", {}, OSError("the server closed the connection"), connection_invalidated=True)

    def align(*arguments: Any) -> Adapter:
        attempts.append(arguments[2].attempts)
        if len(attempts) <= 6:
            raise lost
        return ending("refused")(*arguments)

    monkeypatch.setattr(module, "align", align)
    run = store.runs.request("request")
    make_aligner().start()
    wait_until(lambda: store.runs.get(run.id).is_ended)
    assert (store.runs.get(run.id).status, attempts) == ("refused", [1] * 7)


def test_an_outage_that_is_still_there_when_the_run_has_broken_off_counts_as_no_attempt_either(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection can be had at all: there was none that was lost."""
    aligner = make_aligner()
    refused = OperationalError("", {}, OSError("connection refused"))
    monkeypatch.setattr(module, "align", failing(refused))
    with monkeypatch.context() as patch:
        patch.setattr(aligner._store.runs, "update", failing(refused))
        run = store.runs.request("request")
        aligner._work()
    monkeypatch.setattr(module, "align", ending("refused"))
    aligner._work()
    ended = store.runs.get(run.id)
    assert (ended.status, ended.attempts) == ("refused", 1)


def test_a_run_that_the_database_refuses_each_time_is_given_up(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", failing(OperationalError("", {}, OSError("too big"))))
    run = store.runs.request("request")
    make_aligner().start()
    wait_until(lambda: store.runs.get(run.id).is_ended)
    ended = store.runs.get(run.id)
    assert (ended.status, ended.attempts) == ("failed", 4)


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
