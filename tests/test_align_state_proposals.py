"""What was admitted to go live waits until it is proposed, or until that is not right any more."""

from __future__ import annotations

import pytest
from records import adapter_row

from align.errors import Conflict
from align.state import Store

pytestmark = pytest.mark.every_database


def test_what_is_published_to_be_proposed_waits_until_it_is(store: Store) -> None:
    adapter_row(store)
    assert store.proposals.waiting() is None
    adapter = adapter_row(store, is_to_be_proposed=True)
    assert store.proposals.waiting() == adapter.version
    store.rollouts.propose("base", adapter.version, 0.1)
    assert store.proposals.waiting() is None


@pytest.mark.parametrize("status", ["refused", "held"])
def test_what_is_not_admitted_does_not_wait_and_an_older_one_does_still(store: Store, status: str) -> None:
    adapter_row(store, is_to_be_proposed=True)
    adapter_row(store, status, is_to_be_proposed=True)
    assert store.proposals.waiting() == "v0001"


def test_the_newest_admitted_one_waits_and_no_other(store: Store) -> None:
    adapter_row(store, is_to_be_proposed=True)
    adapter_row(store, is_to_be_proposed=True)
    assert store.proposals.waiting() == "v0002"
    adapter_row(store)
    assert store.proposals.waiting() is None


def test_a_run_that_was_cancelled_meanwhile_leaves_nothing_to_propose(store: Store) -> None:
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    store.runs.cancel(run.id)
    with pytest.raises(Conflict):
        adapter_row(store, run=run, is_to_be_proposed=True)
    assert store.proposals.waiting() is None


def test_whatever_a_person_proposes_settles_it_and_what_the_server_does_by_itself_does_not(
    store: Store,
) -> None:
    adapter_row(store)
    adapter_row(store, is_to_be_proposed=True)
    rollback = store.rollouts.propose("v0001", reason="rolled back: v0000 is worse")
    assert store.proposals.waiting() == "v0002"
    with pytest.raises(Conflict, match="another rollout is being prepared"):
        store.rollouts.propose("base")
    assert store.proposals.waiting() == "v0002", "what was refused settles nothing"
    store.rollouts.abandon(rollback.generation, "no")
    store.rollouts.propose("base")
    assert store.proposals.waiting() is None


def test_what_may_not_serve_any_more_does_not_wait(store: Store) -> None:
    adapter_row(store, is_to_be_proposed=True)
    store.adapters.retire("v0001")
    assert store.proposals.waiting() is None
    adapter_row(store, is_to_be_proposed=True)
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE adapters SET tainted = 1.0")
    assert store.proposals.waiting() is None
