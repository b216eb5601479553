"""Runs: asked for once, claimed by one, and ended as they ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from records import correction, response
from sqlalchemy import event

from align.errors import Conflict, NotFound
from align.state import Store

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
    run = store.runs.request("request")
    store.runs.claim()
    store.runs.update(run.id, status="failed", reason="no memory")
    store.runs.update(run.id, status="admitted", adapter="v0001")
    ended = store.runs.get(run.id)
    assert (ended.status, ended.reason, ended.adapter, ended.is_ended) == ("failed", "no memory", None, True)
    assert ended.ended is not None


def test_a_run_is_cancelled_while_it_waits_or_is_under_way_and_not_afterwards(store: Store) -> None:
    waiting = store.runs.request("request")
    cancelled = store.runs.cancel(waiting.id)
    assert (cancelled.status, cancelled.reason) == ("cancelled", "cancelled on request")
    assert cancelled.ended is not None
    assert store.runs.claim() is None
    running = store.runs.request("request")
    assert running.id != waiting.id
    store.runs.claim()
    store.runs.update(running.id, manifest={"train": ["c1"], "last_sequence": 3})
    assert store.runs.cancel(running.id).manifest == {"train": ["c1"], "last_sequence": 3}
    store.runs.update(running.id, status="gating")
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
    cut_off = []
    for _ in range(2):
        cut_off.append(store.runs.request("request").id)
        store.runs.claim()
    store.runs.update(cut_off[1], status="gating")
    waiting = store.runs.request("request")
    assert [run.id for run in store.runs.under_way()] == cut_off
    taken_up = store.runs.take_up(cut_off[1])
    assert (taken_up.status, taken_up.attempts) == ("running", 2)
    store.runs.update(cut_off[0], status="failed", reason="given up")
    assert store.runs.take_up(cut_off[0]).status == "failed"
    assert [run.id for run in store.runs.under_way()] == cut_off[1:]
    assert store.runs.get(waiting.id).status == "requested"
    assert [run.id for run in store.runs.recent()] == [waiting.id, *reversed(cut_off)]
    with pytest.raises(NotFound, match="no run 'run-9'"):
        store.runs.get("run-9")


def test_whether_a_run_is_due_is_known_without_a_manifest_read(store: Store) -> None:
    seen: list[str] = []
    for last in (3, 5):
        run = store.runs.request("count")
        store.runs.claim()
        store.runs.update(run.id, manifest={"train": ["c1"], "last_sequence": last})
        store.runs.update(run.id, status="refused")
    store.runs.request("count")  # it has seen nothing yet

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(store.database.engine, "before_cursor_execute", note)
    assert store.runs.learned_up_to() == 5
    assert [statement for statement in seen if "FROM runs" in statement]
    assert not any("manifest" in statement for statement in seen)
