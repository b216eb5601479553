"""What a run of the aligner admitted is proposed, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from aligners import MakeAligner, ending, failing
from records import adapter_row, response
from served import wait_until

from align import alignment as module
from align.state import Adapter, Failure, Store
from serve.aligner import Aligner
from serve.rollout_settings import CanarySettings, RolloutSettings
from serve.settings import Settings


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


def test_a_promotion_waits_for_one_that_is_under_way_and_nothing_is_begun_meanwhile(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_row(store)
    other = store.rollouts.propose("v0001")
    monkeypatch.setattr(module, "align", ending("admitted"))
    store.runs.request("request")
    aligner.step()
    waiting = store.runs.request("request")
    assert aligner.step() is None
    assert store.rollouts.newest() == other
    store.rollouts.abandon(other.generation, "no")
    aligner.step()
    proposed = store.rollouts.naming("v0002")
    assert [(rollout.live, rollout.status) for rollout in proposed] == [("v0002", "preparing")]
    assert store.runs.get(waiting.id).is_ended


def test_a_promotion_that_waits_ends_when_its_adapter_is_retired(
    aligner: Aligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_row(store)
    other = store.rollouts.propose("v0001")
    monkeypatch.setattr(module, "align", ending("admitted"))
    store.runs.request("request")
    aligner.step()
    store.adapters.retire("v0002")
    store.rollouts.abandon(other.generation, "no")
    assert aligner.step() is None
    assert store.rollouts.naming("v0002") == []


class Died(BaseException):
    """What no handler catches, as a process that is killed there."""


def test_what_an_aligner_published_before_it_died_is_proposed_by_the_next_one_exactly_once(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", ending("admitted"))
    store.runs.request("request")
    with monkeypatch.context() as patch:
        patch.setattr("serve.aligner.propose_new", failing(Died()))
        with pytest.raises(Died):
            make_aligner().step()
    assert store.runs.recent()[0].status == "admitted"
    assert store.rollouts.newest().generation == 0
    successor = make_aligner()
    successor.step()
    rollout = store.rollouts.newest()
    assert (rollout.generation, rollout.live) == (1, "v0001")
    store.rollouts.commit(1, 0.0)
    store.rollouts.commit(store.rollouts.propose("base").generation, 0.0)
    for aligner in (successor, make_aligner()):
        aligner.step()
    assert store.rollouts.newest().generation == 2


def test_what_a_dead_aligner_published_is_not_proposed_after_a_person_has_decided(
    make_aligner: MakeAligner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_row(store)
    adapter_row(store, is_to_be_proposed=True)
    store.rollouts.commit(store.rollouts.propose("v0001").generation, 0.0)
    make_aligner().step()
    assert store.rollouts.newest().generation == 1


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
