"""Versions count up and never change; one rollout is prepared at a time, and what is in force is found."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from records import adapter_row

from align.errors import Conflict, NotFound
from align.state import Store, version_name, version_number

pytestmark = pytest.mark.every_database


def test_version_names_have_one_width_and_read_as_people_write_them() -> None:
    assert [version_name(number) for number in (1, 12, 9999)] == ["v0001", "v0012", "v9999"]
    assert [version_number(name) for name in ("v1", "v0012")] == [1, 12]
    for name in ("1", "v", "V1", "v-1", "v1.0", "base", "v1 ", ""):
        with pytest.raises(NotFound, match="no adapter version; versions look like v0012"):
            version_number(name)


def test_versions_count_up_whatever_became_of_the_earlier_ones(store: Store) -> None:
    for status in ("admitted", "refused", "admitted"):
        adapter_row(store, status=status)
    store.adapters.retire("v1")
    assert adapter_row(store).version == "v0004"
    assert [adapter.version for adapter in store.adapters.all()] == ["v0004", "v0003", "v0002", "v0001"]
    assert store.adapters.get("v1").status == "retired"
    with pytest.raises(NotFound, match="no adapter 'v9'"):
        store.adapters.get("v9")


def test_what_is_held_for_review_is_admitted_by_a_persons_word_and_nothing_else_is(store: Store) -> None:
    for status in ("held", "refused", "admitted"):
        adapter_row(store, status=status)
    assert store.adapters.admit("v1").status == "admitted"
    assert store.rollouts.propose("v0001").live == "v0001"
    for version, status in (("v1", "admitted"), ("v2", "refused"), ("v3", "admitted")):
        with pytest.raises(Conflict, match=f"is {status}; only one that is held for review can be admitted"):
            store.adapters.admit(version)


def test_concurrent_adapters_get_different_versions(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = {adapter.version for adapter in pool.map(lambda _: adapter_row(store), range(8))}
    assert len(versions) == 8


def serve(store: Store, live: str, candidate: str | None = None, share: float = 0.0) -> None:
    rollout = store.rollouts.propose(live, candidate, share)
    assert store.rollouts.commit(rollout.generation, ahead_s=0.0)


def test_a_served_adapter_cannot_be_retired(store: Store) -> None:
    for _ in range(4):
        adapter_row(store)
    serve(store, "v0001", "v0002", 0.1)
    for version in ("v0001", "v0002"):
        with pytest.raises(Conflict, match=f"{version} is being served"):
            store.adapters.retire(version)
    preparing = store.rollouts.propose("v0003")
    for version in ("v0001", "v0002", "v0003"):
        with pytest.raises(Conflict, match="is being served"):
            store.adapters.retire(version)
    store.rollouts.commit(preparing.generation, ahead_s=60.0)
    with pytest.raises(Conflict, match="v0001 is being served"):
        store.adapters.retire("v0001")
    assert store.adapters.retire("v0004").status == "retired"


def test_before_any_rollout_the_base_is_in_force(store: Store) -> None:
    in_force = store.rollouts.in_force()
    assert (in_force.generation, in_force.live, in_force.versions) == (0, "base", ())
    assert store.rollouts.newest() == in_force


def test_one_rollout_is_prepared_at_a_time(store: Store) -> None:
    adapter_row(store)
    barrier = threading.Barrier(6)

    def propose(_: int) -> bool:
        barrier.wait()
        try:
            store.rollouts.propose("v0001")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(propose, range(6))) == 1
    first = store.rollouts.newest()
    assert store.rollouts.abandon(first.generation, "too slow")
    assert store.rollouts.newest().reason == "too slow"
    assert store.rollouts.propose("v0001").generation == first.generation + 1


def test_of_two_commits_one_wins(store: Store) -> None:
    adapter_row(store)
    generation = store.rollouts.propose("v0001").generation
    with ThreadPoolExecutor(6) as pool:
        wins = list(pool.map(lambda _: store.rollouts.commit(generation, 5.0), range(6)))
    assert sum(wins) == 1
    assert not store.rollouts.abandon(generation, "late")
    assert store.rollouts.newest().status == "committed"


def test_a_rollout_is_in_force_from_its_moment_on(store: Store) -> None:
    adapter_row(store)
    generation = store.rollouts.propose("v0001").generation
    before = time.time()
    store.rollouts.commit(generation, ahead_s=30.0)
    moment = store.rollouts.newest().effective_at
    assert moment is not None
    assert before + 30.0 <= moment <= time.time() + 30.0
    assert store.rollouts.in_force(moment - 0.001).live == "base"
    assert store.rollouts.in_force(moment).live == "v0001"


def test_nothing_is_proposed_while_a_switch_is_still_to_come(store: Store) -> None:
    adapter_row(store)
    store.rollouts.commit(store.rollouts.propose("v0001").generation, ahead_s=30.0)
    with pytest.raises(Conflict, match="another rollout takes effect in a moment"):
        store.rollouts.propose("base")


def test_what_was_decided_from_another_rollout_is_refused(store: Store) -> None:
    adapter_row(store)
    seen = store.rollouts.in_force()
    serve(store, "v0001")
    with pytest.raises(Conflict, match="another rollout came in between"):
        store.rollouts.propose("base", based_on=seen)
    assert store.rollouts.propose("base", based_on=store.rollouts.in_force()).live == "base"


@pytest.mark.parametrize(
    ("status", "word"), [("refused", "refused"), ("held", "held"), ("retired", "retired")]
)
def test_only_an_admitted_adapter_may_be_proposed(store: Store, status: str, word: str) -> None:
    adapter_row(store, status=status)
    with pytest.raises(Conflict, match=f"v0001 is {word}; only an admitted adapter may serve"):
        store.rollouts.propose("v0001")
    with pytest.raises(Conflict, match="v0009 is not known"):
        store.rollouts.propose("base", "v0009", 0.5)


def test_what_is_in_force_is_found_behind_many_abandoned_rollouts(store: Store) -> None:
    adapter_row(store)
    serve(store, "v0001")
    for _ in range(130):
        store.rollouts.abandon(store.rollouts.propose("v0001").generation, "no")
    assert store.rollouts.in_force().live == "v0001"
    assert [rollout.generation for rollout in store.rollouts.desired().committed] == [1, 0]
