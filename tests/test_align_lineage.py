"""An adapter names its run, what it learned from, and where it served; a correction names its adapters."""

from __future__ import annotations

import pytest
from records import adapter_row, correction, response, running

from align.errors import NotFound
from align.lineage import Use, adapter_story, uses_of
from align.state import Store

pytestmark = pytest.mark.every_database


@pytest.fixture
def store(store: Store) -> Store:
    for index in range(4):
        store.responses.add(response(f"r{index}"))
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}"))
    return store


def learned(store: Store, train: list[str], held_out: list[str], general: list[str], **changes: str) -> str:
    run_id = running(store)
    store.runs.update(
        store.runs.get(run_id), manifest={"train": train, "held_out": held_out, "general": general}
    )
    return adapter_row(store, run_id=run_id, **changes).version


def serve(store: Store, live: str, candidate: str | None = None, share: float = 0.0) -> None:
    rollout = store.rollouts.propose(live, candidate, share)
    assert store.rollouts.commit(rollout.generation, ahead_s=0.0)


def test_a_story_goes_from_the_run_to_the_answers(store: Store) -> None:
    learned(store, ["c0"], ["c1"], ["r3"])
    learned(store, ["c2"], [], [])
    serve(store, "base", "v0001", 0.1)
    serve(store, "v0002")
    store.rollouts.abandon(store.rollouts.propose("v0001").generation, "too slow")
    serve(store, "v0001")
    for index, version in enumerate(["v0001", "v0001", "v0002", "base"]):
        store.responses.add(response(f"answer{index}", adapter=version))
    store.erasures.response("answer0")
    story = adapter_story(store, "v1")
    assert (story.adapter.version, story.run.id) == ("v0001", story.adapter.run_id)
    assert story.run.manifest is not None
    assert story.run.manifest["train"] == ["c0"]
    assert [(one.generation, one.live, one.status) for one in story.rollouts] == [
        (1, "base", "committed"),
        (3, "v0001", "abandoned"),
        (4, "v0001", "committed"),
    ]
    assert story.num_responses == 2, "an erased answer was given all the same"
    assert story.erased == ()


def test_a_story_names_what_was_erased_of_what_the_run_has_seen(store: Store) -> None:
    learned(store, ["c0", "c1"], ["c2"], ["r3"])
    store.erasures.correction("c1")
    store.erasures.response("r3")
    store.erasures.response("r2")
    story = adapter_story(store, "v0001")
    assert story.erased == ("c1", "c2", "r3")
    assert story.adapter.tainted is not None


def test_a_correction_names_the_adapters_that_it_taught_or_judged(store: Store) -> None:
    learned(store, ["c0", "c1"], ["c2"], ["r3"])
    learned(store, ["c2"], ["c0"], [], status="refused")
    learned(store, ["c1"], [], [])
    assert uses_of(store, "c0") == [
        Use("v0002", "held_out", "refused", False),
        Use("v0001", "train", "admitted", False),
    ]
    assert uses_of(store, "r3") == [Use("v0001", "general", "admitted", False)]
    assert uses_of(store, "c3") == []
    store.erasures.correction("c0")
    assert [use.is_tainted for use in uses_of(store, "c0")] == [True, True], "also when it is gone"


def test_an_unknown_version_has_no_story(store: Store) -> None:
    with pytest.raises(NotFound, match="no adapter 'v9'"):
        adapter_story(store, "v9")
