"""Rollouts, decided: when to commit, when to give up, which version answers, and where a rollback goes."""

from __future__ import annotations

from typing import Any

import pytest

from align.state import Replica, Rollout
from align.state.rollouts import INITIAL, Desired
from serve.errors import NotReady, UnknownAdapter
from serve.rollout import Abandon, Commit, Wait, choose_version, decide


def rollout(generation: int = 5, live: str = "v0002", status: str = "committed", **changes: Any) -> Rollout:
    values: dict[str, Any] = {"candidate": None, "share": 0.0, "prepare_by": 100.0, "effective_at": 50.0}
    return Rollout(generation, 0.0, status, live, **{**values, **changes})


def replica(name: str, prepared: int, failure: dict[str, Any] | None = None) -> Replica:
    return Replica(name, 0.0, "", prepared, failure, [])


PREPARING = rollout(5, status="preparing", effective_at=None)


def test_it_is_committed_when_all_have_prepared() -> None:
    assert decide(PREPARING, [replica("a", 5), replica("b", 5)], is_late=False) == Commit()
    assert decide(PREPARING, [replica("a", 5), replica("b", 4)], is_late=False) == Wait()
    assert decide(PREPARING, [replica("a", 5)], is_late=True) == Commit(), "late, but nobody is missing"


def test_without_any_replica_nothing_is_committed() -> None:
    assert decide(PREPARING, [], is_late=False) == Wait()
    assert decide(PREPARING, [], is_late=True) == Abandon("not prepared in time by any replica")


def test_it_is_abandoned_when_one_does_not_prepare_in_time() -> None:
    replicas = [replica("a", 5), replica("b", 4), replica("c", 3)]
    assert decide(PREPARING, replicas, is_late=False) == Wait()
    assert decide(PREPARING, replicas, is_late=True) == Abandon("not prepared in time by b, c")


def test_it_is_abandoned_at_once_when_one_cannot_load_it() -> None:
    failed = replica("b", 4, {"generation": 5, "reason": "rank 64 is too large"})
    assert decide(PREPARING, [replica("a", 5), failed], is_late=False) == Abandon(
        "replica b cannot load it: rank 64 is too large"
    )


def test_a_failure_of_an_earlier_rollout_does_not_count() -> None:
    old = {"generation": 4, "reason": "no"}
    assert decide(PREPARING, [replica("a", 5, old)], is_late=False) == Commit()
    assert decide(PREPARING, [replica("a", 4, old)], is_late=False) == Wait()


def test_the_previous_version_is_the_newest_other_one_that_was_live() -> None:
    history = (rollout(9, "v0003"), rollout(8, "v0002"), rollout(6, "v0002"), rollout(2, "v0001"), INITIAL)
    desired = Desired(history)
    assert desired.previous(history[0]) == "v0002"
    assert desired.previous(history[1]) == "v0001", "v0003 came after it"
    assert desired.previous(history[3]) == "base"
    assert desired.previous(INITIAL) == "base"


def test_a_version_that_may_not_serve_any_more_is_no_way_back() -> None:
    history = (rollout(9, "v0003"), rollout(8, "v0002"), rollout(2, "v0001"), INITIAL)
    assert Desired(history, withheld=frozenset({"v0002", "v0003"})).previous(history[0]) == "v0001"
    assert Desired(history, withheld=frozenset({"v0001", "v0002"})).previous(history[0]) == "base"


LOADED = ("v0001", "v0002", "v0003")


def choose(model: str, now: Rollout, person: str = "ada", loaded: tuple[str, ...] = LOADED) -> str:
    return choose_version(now, person, model, "errata-scenes", loaded)


@pytest.mark.parametrize(
    ("pin", "version"),
    [
        ("", "v0002"),
        ("@latest", "v0002"),
        ("@base", "base"),
        ("@v0001", "v0001"),
        ("@v1", "v0001"),
        ("@v3", "v0003"),
    ],
)
def test_a_pin_wins_over_the_rollout(pin: str, version: str) -> None:
    assert choose(f"errata-scenes{pin}", rollout()) == version


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gpt-5", "the model 'gpt-5' does not exist; this server has 'errata-scenes'"),
        ("errata", "does not exist"),
        ("errata-scenes-2@v1", "does not exist"),
        ("", "does not exist"),
        ("errata-scenes@", "versions look like v0012"),
        ("errata-scenes@12", "versions look like v0012"),
        ("errata-scenes@v1@v2", "versions look like v0012"),
        ("errata-scenes@BASE", "versions look like v0012"),
        ("errata-scenes@v10", "v0010 is not loaded; GET /v1/models lists"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(model: str, message: str) -> None:
    with pytest.raises(UnknownAdapter, match=message):
        choose(model, rollout())


def test_latest_is_the_candidate_where_there_is_one() -> None:
    now = rollout(live="v0001", candidate="v0002", share=0.01)
    assert choose("errata-scenes@latest", now) == "v0002"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_candidate_answers_its_share_of_the_people(share: float) -> None:
    now = rollout(live="v0001", candidate="v0002", share=share)
    chosen = [choose("errata-scenes", now, f"chatcmpl-{n}") for n in range(4000)]
    # a fixed set of ids, so nothing here is left to chance; four standard deviations are 0.032 at most
    assert chosen.count("v0002") / 4000 == pytest.approx(share, abs=0.032)
    assert set(chosen) == {"v0001", "v0002"}
    assert chosen == [choose("errata-scenes", now, f"chatcmpl-{n}") for n in range(4000)]


def test_whoever_met_the_candidate_meets_it_again_when_its_share_grows() -> None:
    people = [f"person-{n}" for n in range(500)]

    def met(share: float) -> set[str]:
        now = rollout(live="v0001", candidate="v0002", share=share)
        return {one for one in people if choose("errata-scenes", now, one) == "v0002"}

    assert met(0.1) < met(0.5) < met(0.9)


def test_another_candidate_meets_other_people() -> None:
    people = [f"person-{n}" for n in range(4000)]

    def met(candidate: str) -> set[str]:
        now = rollout(live="v0001", candidate=candidate, share=0.2)
        return {one for one in people if choose("errata-scenes", now, one) == candidate}

    both = len(met("v0002") & met("v0003")) / 4000
    assert both == pytest.approx(0.2 * 0.2, abs=0.013)  # four standard deviations: as if drawn independently


def test_what_is_in_force_but_not_loaded_is_a_matter_of_time() -> None:
    for model in ("errata-scenes", "errata-scenes@latest"):
        with pytest.raises(NotReady, match="v0002 is in force, but not loaded here yet"):
            choose(model, rollout(), loaded=("v0001",))
    assert choose("errata-scenes", rollout(live="base"), loaded=()) == "base"
