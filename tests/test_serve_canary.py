"""A new version is rolled back when it is worse, promoted when it has stood the test, and the history says why."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from records import adapter_row, correction, response
from sqlalchemy import text

from align.errors import Conflict
from align.state import Failure, Rollout, Store, Terms
from serve.canary import Canary, compare, propose_new
from serve.comparison import Breach, Comparison, Contrast, Stood, Undecided, answers_per_block, judge
from serve.rollout_settings import CanarySettings, RolloutSettings

pytestmark = pytest.mark.every_database

SETTINGS = RolloutSettings(canary=CanarySettings(num_answers=20, settled_s=60.0, look_s=0.0))
TERMS = SETTINGS.canary.terms


def committed(store: Store, version: str, share: float | None = None) -> Rollout:
    """A new version in force, as the aligner or a person would have it."""
    proposed = propose_new(store, version, SETTINGS, share)
    store.rollouts.commit(proposed.generation, 0.0)
    return store.rollouts.in_force()


def answers(
    store: Store, adapter: str, count: int, *, corrected: int = 0, age_s: float = 100.0, pinned: bool = False
) -> None:
    """Answers of the rollout in force; the first ones were corrected at once."""
    generation = None if pinned else store.rollouts.in_force().generation
    created = time.time() - age_s
    for number in range(count):
        name = f"{adapter} {generation} {pinned} {age_s} {number}"
        store.responses.add(
            response(name, adapter=adapter, generation=generation, created=created, timings={"total_s": 0.0})
        )
        if number < corrected:
            store.corrections.add(correction(f"c {name}", response_id=name, created=created + 1.0))


def failures(store: Store, adapter: str, count: int) -> None:
    generation = store.rollouts.in_force().generation
    for number in range(count):
        store.outcomes.add_failure(
            Failure(f"{adapter} {number}", time.time() - 1.0, adapter, generation, "engine")
        )


@pytest.fixture
def canary(store: Store) -> Canary:
    """v0001 is live for everyone and not judged any more; v0002 and v0003 could be next."""
    for _ in range(3):
        adapter_row(store)
    store.rollouts.commit(store.rollouts.propose("v0001").generation, 0.0)
    return Canary(store, SETTINGS)


def test_a_candidate_that_is_corrected_more_often_is_rolled_back_with_the_reason(
    canary: Canary, store: Store
) -> None:
    committed(store, "v0002", share=0.1)
    answers(store, "v0001", 108, corrected=3)
    answers(store, "v0002", 12, corrected=8)
    canary.step()
    newest = store.rollouts.newest()
    assert (newest.status, newest.live, newest.candidate, newest.terms) == ("preparing", "v0001", None, None)
    assert str(newest.reason).startswith(
        "rolled back: v0002 has 8 of 12 answers corrected against 3 of 108 of v0001 (evidence "
    )
    assert str(newest.reason).endswith(", at most 200 by chance)")


def test_a_candidate_that_fails_is_rolled_back_at_once(canary: Canary, store: Store) -> None:
    committed(store, "v0002", share=0.1)
    answers(store, "v0001", 108, age_s=2.0)
    failures(store, "v0002", 8)
    canary.step()
    assert store.rollouts.newest().live == "v0001"
    assert "v0002 has 8 of 8 answers failed against 0 of 108 of v0001" in str(store.rollouts.newest().reason)


def test_a_candidate_that_is_corrected_as_often_gets_everyone_once_it_has_enough_answers(
    canary: Canary, store: Store
) -> None:
    committed(store, "v0002", share=0.1)
    answers(store, "v0001", 180, corrected=9)
    answers(store, "v0002", 19, corrected=1)
    canary.step()
    assert store.rollouts.newest().status == "committed", "one is missing"
    answers(store, "v0002", 1, age_s=99.0)
    canary.step()
    newest = store.rollouts.newest()
    assert (newest.status, newest.live, newest.candidate) == ("preparing", "v0002", None)
    assert newest.as_terms == TERMS, "it is watched on"
    assert str(newest.reason).startswith(
        "stood the test: v0002 has 1 of 20 answers corrected against 9 of 180"
    )


def test_a_live_version_that_is_worse_than_the_one_before_is_rolled_back(
    canary: Canary, store: Store
) -> None:
    answers(store, "v0001", 180, corrected=4, age_s=300.0)
    committed(store, "v0002")
    with store.database.write() as connection:  # it took the place of v0001 long enough ago
        earlier = text("UPDATE rollouts SET effective_at = :at WHERE live = 'v0002'")
        connection.execute(earlier, {"at": time.time() - 200.0})
    answers(store, "v0002", 12, corrected=9)
    canary.step()
    newest = store.rollouts.newest()
    assert (newest.status, newest.live, newest.terms) == ("preparing", "v0001", None)
    assert "v0002 has 9 of 12 answers corrected against 4 of 180 of v0001" in str(newest.reason)


def test_a_live_version_that_has_stood_the_test_stays_and_is_not_looked_at_any_more(
    canary: Canary, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(store, "v0001", 180, corrected=4, age_s=300.0)
    committed(store, "v0002")
    answers(store, "v0002", 20)
    canary.step()
    monkeypatch.setattr(store.outcomes, "corrected", lambda *_, **__: pytest.fail("looked at again"))
    canary.step()
    assert store.rollouts.newest().live == "v0002"


def test_it_looks_as_often_as_it_is_told_to(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seldom = SETTINGS.model_copy(update={"canary": SETTINGS.canary.model_copy(update={"look_s": 1000.0})})
    canary, looks = Canary(store, seldom), []
    desired = store.rollouts.desired
    monkeypatch.setattr(store.rollouts, "desired", lambda: looks.append(1) or desired())
    for _ in range(3):
        canary.step()
    assert len(looks) == 1


def test_answers_that_may_still_be_corrected_and_pinned_ones_say_nothing(
    canary: Canary, store: Store
) -> None:
    committed(store, "v0002", share=0.1)
    answers(store, "v0001", 180)
    answers(store, "v0002", 20, corrected=20, age_s=30.0)
    answers(store, "v0002", 20, corrected=20, pinned=True)
    canary.step()
    assert store.rollouts.newest().status == "committed"


def test_what_was_fixed_when_it_was_proposed_decides_and_not_todays_settings(
    canary: Canary, store: Store
) -> None:
    committed(store, "v0002", share=0.1)
    answers(store, "v0001", 180)
    answers(store, "v0002", 20)
    patient = SETTINGS.model_copy(
        update={"canary": SETTINGS.canary.model_copy(update={"num_answers": 10**6, "alpha": 1e-9})}
    )
    Canary(store, patient).step()
    assert store.rollouts.newest().live == "v0002"


def test_without_terms_nothing_is_judged(canary: Canary, store: Store) -> None:
    answers(store, "v0001", 100, corrected=100)
    canary.step()
    assert compare(store, store.rollouts.desired(), time.time()) is None
    assert store.rollouts.newest().generation == 1
    assert committed(store, "base").terms is None, "the base is a way back"


def test_while_another_rollout_is_under_way_nothing_is_decided(canary: Canary, store: Store) -> None:
    committed(store, "v0002", share=0.1)
    answers(store, "v0001", 108)
    failures(store, "v0002", 8)
    by_hand = store.rollouts.propose("v0003")
    canary.step()
    assert store.rollouts.newest() == by_hand
    store.rollouts.commit(by_hand.generation, 60.0)
    canary.step()
    assert store.rollouts.newest().generation == by_hand.generation, "its moment is still to come"


def test_of_two_that_decide_the_same_one_proposes(canary: Canary, store: Store) -> None:
    committed(store, "v0002", share=0.1)
    answers(store, "v0001", 108)
    failures(store, "v0002", 8)
    desired = store.rollouts.desired()
    other = Canary(store, SETTINGS)
    canary.step()
    generation = store.rollouts.newest().generation
    comparison = compare(store, desired, time.time())
    assert comparison is not None
    other._roll_back(desired, comparison, "as seen before the first one's proposal")
    assert store.rollouts.newest().generation == generation


def test_a_rollback_that_no_replica_can_prepare_is_not_asked_for_again_and_again(
    canary: Canary, store: Store
) -> None:
    committed(store, "v0002", share=0.1)
    answers(store, "v0001", 108)
    failures(store, "v0002", 8)
    canary.step()
    store.rollouts.abandon(store.rollouts.newest().generation, "the disk is gone")
    generation = store.rollouts.newest().generation
    canary.step()
    assert store.rollouts.newest().generation == generation


def test_the_live_version_is_no_candidate(canary: Canary, store: Store) -> None:
    with pytest.raises(Conflict, match="v0001 is live already"):
        propose_new(store, "v0001", SETTINGS, 0.5)


# --- the decision alone


def comparison(corrected: Contrast, failed: Contrast) -> Comparison:
    return Comparison("v2", "v1", True, Terms(alpha=0.01, settled_s=60.0, num_answers=100), corrected, failed)


FINE = Contrast("failed", [False] * 100, [False] * 900, 9)


def test_evidence_of_either_kind_is_a_breach_and_enough_answers_without_it_are_a_success() -> None:
    good, bad = (
        Contrast("corrected", [False] * 100, [False] * 900, 9),
        Contrast("corrected", [True] * 9, [False] * 99, 9),
    )
    assert isinstance(judge(comparison(good, FINE)), Stood)
    assert isinstance(judge(comparison(bad, FINE)), Breach)
    assert isinstance(judge(comparison(good, replace(FINE, new=[True] * 100))), Breach)
    assert isinstance(judge(comparison(replace(good, new=[False] * 99), FINE)), Undecided)


@pytest.mark.parametrize("num_others", [0, 8, 899])
def test_a_candidate_that_was_not_compared_with_the_live_version_has_not_stood_the_test(
    num_others: int,
) -> None:
    alone = Contrast("corrected", [False] * 5000, [False] * num_others, 9)
    assert isinstance(judge(comparison(alone, FINE)), Undecided)
    everyone = replace(comparison(alone, FINE), is_canary=False)
    assert isinstance(judge(everyone), Stood), "who answers everyone goes on doing so"


def test_each_kind_has_half_of_alpha() -> None:
    assert comparison(FINE, FINE).threshold == 200.0


@pytest.mark.parametrize(("share", "number"), [(0.001, 9), (0.1, 9), (0.2, 4), (0.5, 1), (0.9, 1)])
def test_a_block_holds_as_many_answers_of_the_live_version_as_there_are_for_one_of_the_candidate(
    share: float, number: int
) -> None:
    assert answers_per_block(share) == number
