"""Runs: asked for once, claimed by one, and ended as they ended."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from records import claimed, correction, response
from sqlalchemy import event

from align.errors import Conflict, NotFound, TakenOver
from align.state import Run, Store

pytestmark = pytest.mark.every_database


def test_asking_for_a_run_twice_is_asking_once(store: Store) -> None:
    first = store.runs.request("count")
    assert store.runs.request("count") == first
    claimed = store.runs.claim()
    assert claimed is not None
    assert (claimed.id, claimed.status) == (first.id, "running")
    assert store.runs.request("request").id != first.id, "a run under way does not see later corrections"


def test_a_run_is_claimed_by_one(store: Store) -> None:
    run = store.runs.request("request")
    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(lambda _: store.runs.claim(), range(8)) if claim is not None]
    assert [claim.id for claim in claims] == [run.id]


def test_an_ended_run_stays_as_it_ended(store: Store) -> None:
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    store.runs.update(run, status="failed", reason="no memory")
    store.runs.update(run, status="admitted", adapter="v0001")
    ended = store.runs.get(run.id)
    assert (ended.status, ended.reason, ended.adapter, ended.is_ended) == ("failed", "no memory", None, True)
    assert ended.ended is not None


def test_a_run_is_cancelled_while_it_waits_or_is_under_way_and_not_afterwards(store: Store) -> None:
    waiting = store.runs.request("request")
    cancelled = store.runs.cancel(waiting.id)
    assert (cancelled.status, cancelled.reason) == ("cancelled", "cancelled on request")
    assert cancelled.ended is not None
    assert store.runs.claim() is None
    store.runs.request("request")
    running = store.runs.claim()
    assert running is not None
    assert running.id != waiting.id
    store.runs.update(running, manifest={"train": ["c1"], "last_sequence": 3})
    assert store.runs.cancel(running.id).manifest == {"train": ["c1"], "last_sequence": 3}
    store.runs.update(running, status="gating")
    assert store.runs.get(running.id).status == "cancelled"
    assert store.runs.under_way() == []
    with pytest.raises(Conflict, match="is cancelled; only a run that has not ended can be cancelled"):
        store.runs.cancel(running.id)
    with pytest.raises(NotFound, match="no run 'run-9'"):
        store.runs.cancel("run-9")


def test_a_run_that_is_cancelled_before_it_froze_anything_has_seen_all_corrections(store: Store) -> None:
    store.responses.add(response("r1"))
    store.corrections.add(correction("c1"))
    assert store.runs.cancel(store.runs.request("count").id).manifest == {"last_sequence": 1}


def test_runs_of_a_dead_aligner_are_found_oldest_first_and_taken_up_one_attempt_older(store: Store) -> None:
    first, second = claimed(store), claimed(store)
    store.runs.update(second, status="gating")
    waiting = store.runs.request("request")
    assert [run.id for run in store.runs.under_way()] == [first.id, second.id]
    taken_up = store.runs.take_up(second)
    assert (taken_up.id, taken_up.status, taken_up.attempts) == (second.id, "running", 2)
    store.runs.update(first, status="failed", reason="given up")
    assert store.runs.take_up(first).status == "failed"
    assert [run.id for run in store.runs.under_way()] == [second.id]
    assert store.runs.get(waiting.id).status == "requested"
    assert [run.id for run in store.runs.recent()] == [waiting.id, second.id, first.id]
    with pytest.raises(NotFound, match="no run 'run-9'"):
        store.runs.get("run-9")


def test_whoever_has_lost_a_run_writes_no_more_of_it_and_ends_nothing(store: Store) -> None:
    zombie = claimed(store)
    store.runs.update(zombie, manifest={"last_sequence": 0}, progress={"step": 1})
    successor = store.runs.take_up(store.runs.get(zombie.id))
    for values in ({"progress": {"step": 9}}, {"attempts": 0}, {"status": "failed", "reason": "lost"}):
        with pytest.raises(TakenOver, match=f"another aligner has taken up {zombie.id}"):
            store.runs.update(zombie, **values)
    with pytest.raises(TakenOver):
        store.adapters.publish(zombie, status="admitted", digest="d", blob="b", report={}, reason=None)
    with pytest.raises(TakenOver):
        store.runs.check(zombie)
    assert store.adapters.all() == []
    assert replace(store.runs.get(zombie.id), heartbeat=successor.heartbeat) == successor
    assert (successor.progress, successor.attempts) == ({"step": 1}, 2)
    store.runs.check(successor)
    adapter = store.adapters.publish(
        successor, status="admitted", digest="d", blob="b", report={}, reason=None
    )
    ended = store.runs.get(zombie.id)
    assert (ended.status, ended.adapter) == ("admitted", adapter.version)
    store.runs.update(zombie, status="failed")
    assert store.runs.get(zombie.id) == ended


def test_an_attempt_that_its_aligner_outlived_counts_no_more_whoever_holds_the_run(store: Store) -> None:
    cut_off = claimed(store)
    successor = store.runs.take_up(cut_off)
    store.runs.outlived(cut_off)
    assert store.runs.get(cut_off.id).attempts == 1
    store.runs.update(successor, status="refused")
    store.runs.outlived(successor)
    assert store.runs.get(cut_off.id).attempts == 1, "what has ended stays as it ended"


def test_of_many_who_take_up_a_run_one_does_it(store: Store) -> None:
    left = claimed(store)

    def take_up(_: int) -> Run | None:
        try:
            return store.runs.take_up(left)
        except TakenOver:
            return None

    with ThreadPoolExecutor(8) as pool:
        (taken_up,) = [run for run in pool.map(take_up, range(8)) if run is not None]
    assert store.runs.get(left.id) == taken_up
    assert taken_up.attempts == 2


def test_a_run_is_cancelled_whoever_does_it(store: Store) -> None:
    run = claimed(store)
    assert store.runs.cancel(run.id).status == "cancelled"
    with pytest.raises(Conflict, match="was ended meanwhile: cancelled on request"):
        store.runs.check(run)


def test_whether_a_run_is_due_is_known_without_a_manifest_read(store: Store) -> None:
    seen: list[str] = []
    for last in (3, 5):
        run = claimed(store)
        store.runs.update(run, manifest={"train": ["c1"], "last_sequence": last})
        store.runs.update(run, status="refused")
    store.runs.request("count")  # it has seen nothing yet

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(store.database.engine, "before_cursor_execute", note)
    assert store.runs.learned_up_to() == 5
    assert [statement for statement in seen if "FROM runs" in statement]
    assert not any("manifest" in statement for statement in seen)


def test_what_runs_have_learned_is_not_forgotten_where_the_clock_was_set_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    for hours, learned in ((0, 5), (-1, 9)):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + 3600 * hours)
        store.runs.request("count")
        run = store.runs.claim()
        assert run is not None
        store.runs.update(run, status="failed", reason="no", manifest={"last_sequence": learned})
    assert store.runs.learned_up_to() == 9
