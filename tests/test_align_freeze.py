"""What a run learns from and is judged by, frozen before its training: who is in, who is left out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from records import SERVED, adapter_row, answered, correction, some_corrected

from align.config import AlignmentConfig, GateConfig
from align.errors import (
    NothingToLearn,
    StateError,
)
from align.gate import criteria
from align.manifest import freeze
from align.provenance import Provenance
from align.split import drawn_by_lot
from align.state import Blobs, Store

CONFIG = AlignmentConfig(held_out_share=0.5, max_general=2)
MADE_WITH = Provenance("0.1.0+c0de", "ba5e", "90ce")


def test_without_corrections_there_is_nothing_to_learn(store: Store, blobs: Blobs) -> None:
    answered(store, blobs, "r1", b"image")
    with pytest.raises(NothingToLearn, match="there is no accepted correction yet"):
        freeze(store, blobs, CONFIG)


def test_no_source_brings_more_than_its_share_of_a_run(store: Store, blobs: Blobs) -> None:
    for index in range(60):
        answered(store, blobs, f"r{index}", f"image {index}".encode())
        source = "flood" if index < 30 else f"source {index}"
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}", source=source))
    frozen = freeze(store, blobs, CONFIG)
    kept = {example.id for example in (*frozen.train, *frozen.held_out)}
    flood = {f"c{index}" for index in range(30)}
    assert len(kept & flood) == 3, "3 of 33 is less than a tenth, 4 of 34 is more"
    assert kept | flood == {f"c{index}" for index in range(60)}
    manifest = frozen.manifest("the/base", MADE_WITH, CONFIG)
    assert manifest["over_share"] == sorted(flood - kept)


def test_a_reviewed_flood_is_nobody_s_share(store: Store, blobs: Blobs) -> None:
    for index in range(60):
        answered(store, blobs, f"r{index}", f"image {index}".encode())
        source = "flood" if index < 30 else f"source {index}"
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}", source=source, reviewed=1.0))
    assert freeze(store, blobs, CONFIG).over_share == []


def test_reviewed_corrections_alone_judge_once_there_are_enough(store: Store, blobs: Blobs) -> None:
    config = CONFIG.model_copy(update={"gate": GateConfig(min_items=5)})
    for index in range(60):
        answered(store, blobs, f"r{index}", f"image {index}".encode())
        changes = {"reviewed": 1.0} if index % 2 else {}
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}", **changes))
    frozen = freeze(store, blobs, config)
    assert len(frozen.held_out) >= 5
    assert all(int(example.id[1:]) % 2 for example in frozen.held_out)
    assert len(frozen.train) + len(frozen.held_out) == 60, "each has an image of its own"


def test_a_frozen_example_is_what_was_served_and_what_a_person_made_of_it(store: Store, blobs: Blobs) -> None:
    some_corrected(store, blobs, 1)
    frozen = freeze(store, blobs, CONFIG)
    (example,) = (*frozen.train, *frozen.held_out)
    assert (example.id, example.served_text) == ("c0", SERVED)
    assert example.served_token_ids == (1, 2, 3)
    assert example.corrected_text == SERVED.replace("red", "blue")
    assert [(span.start, span.end, span.replacement) for span in example.spans] == [(2, 5, "blue")]
    assert list(example.images.values()) == [b"image 0"]


def test_the_manifest_names_every_correction_once_on_one_side(store: Store, blobs: Blobs) -> None:
    some_corrected(store, blobs, 12)
    for index in range(3):
        answered(store, blobs, f"general{index}", b"image", created=100.0 + index)
    frozen = freeze(store, blobs, CONFIG)
    manifest = frozen.manifest("the/base", MADE_WITH, CONFIG)
    assert sorted(manifest["train"] + manifest["held_out"]) == sorted(f"c{index}" for index in range(12))
    assert manifest["train"]
    assert manifest["held_out"]
    assert len(manifest["general"]) == 2, "no more than asked for"
    assert manifest["left_out"] == []
    assert manifest["criteria"] == [asdict(criterion) for criterion in criteria(CONFIG.gate)]
    assert (manifest["base"], manifest["live"], manifest["last_sequence"]) == ("the/base", "base", 12)
    assert AlignmentConfig(**manifest["config"]) == CONFIG
    assert manifest["seed"] == CONFIG.training.seed
    assert [manifest[name] for name in ("code_version", "base_digest", "processor_digest")] == [
        "0.1.0+c0de",
        "ba5e",
        "90ce",
    ]
    assert freeze(store, blobs, CONFIG).manifest("the/base", MADE_WITH, CONFIG) == manifest


def test_the_same_image_is_never_on_both_sides(store: Store, blobs: Blobs) -> None:
    for index in range(40):
        answered(store, blobs, f"r{index}", f"image {index % 5}".encode())
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}"))
    frozen = freeze(store, blobs, CONFIG)
    groups = [{example.group for example in side} for side in (frozen.train, frozen.held_out)]
    assert len(groups[0] | groups[1]) == 5
    assert groups[0].isdisjoint(groups[1])


def test_erased_and_superseded_corrections_are_left_out(store: Store, blobs: Blobs) -> None:
    some_corrected(store, blobs, 5)
    store.erasures.correction("c0")
    store.erasures.response("r1")
    store.corrections.add(correction("right after all", response_id="r2", status="nothing_wrong", spans=[]))
    store.corrections.add(correction("newer", response_id="r3"))
    frozen = freeze(store, blobs, CONFIG)
    assert {example.id for example in (*frozen.train, *frozen.held_out)} == {"newer", "c4"}
    assert frozen.last_sequence == 7


def test_the_general_set_holds_no_answer_that_was_corrected(store: Store, blobs: Blobs) -> None:
    some_corrected(store, blobs, 3)
    store.erasures.correction("c0")
    answered(store, blobs, "fine", b"image")
    answered(store, blobs, "cut", b"image", finish_reason="length")
    answered(store, blobs, "erased", b"image")
    store.erasures.response("erased")
    frozen = freeze(store, blobs, CONFIG)
    assert [example.id for example in frozen.general] == ["fine"]
    (example,) = frozen.general
    assert (example.spans, example.corrected_text) == ((), example.served_text)


def test_the_general_set_is_drawn_by_lot_from_what_the_base_said(store: Store, blobs: Blobs) -> None:
    some_corrected(store, blobs, 2)
    for index in range(30):
        answered(store, blobs, f"b{index}", f"general {index}".encode(), created=100.0 + index)
        answered(store, blobs, f"v{index}", f"general {index}".encode(), created=200.0, adapter="v0001")
    config = CONFIG.model_copy(update={"max_general": 10})
    drawn = [example.id for example in freeze(store, blobs, config).general]
    assert drawn == drawn_by_lot([f"b{index}" for index in range(30)], CONFIG.training.seed)[:10]
    assert max(int(name[1:]) for name in drawn) - min(int(name[1:]) for name in drawn) > 15


def test_no_image_that_teaches_is_in_the_general_set(store: Store, blobs: Blobs) -> None:
    some_corrected(store, blobs, 12)
    for index in range(12):
        answered(store, blobs, f"again{index}", f"image {index}".encode())
    frozen = freeze(store, blobs, CONFIG.model_copy(update={"max_general": 100}))
    taught = {example.group for example in frozen.train}
    assert 0 < len(frozen.general) < 12
    assert taught.isdisjoint(example.group for example in frozen.general)
    assert len(frozen.general) == 12 - len(taught)


def test_the_live_version_at_the_start_is_what_a_candidate_is_compared_with(
    store: Store, blobs: Blobs
) -> None:
    some_corrected(store, blobs, 1)
    adapter_row(store)
    store.rollouts.commit(store.rollouts.propose("v0001").generation, ahead_s=0.0)
    assert freeze(store, blobs, CONFIG).live == "v0001"


def test_a_candidate_is_not_compared_with_a_live_version_that_has_to_go(store: Store, blobs: Blobs) -> None:
    some_corrected(store, blobs, 2)
    adapter_row(store)
    store.runs.request("count")
    run = store.runs.claim()
    assert run is not None
    store.runs.update(run, manifest={"train": ["c0"]})
    adapter_row(store, run_id=run.id)
    for version in ("v0001", "v0002"):
        store.rollouts.commit(store.rollouts.propose(version).generation, ahead_s=0.0)
    store.erasures.correction("c0")
    assert freeze(store, blobs, CONFIG).live == "v0001"


def test_a_damaged_image_ends_the_run_with_its_name(store: Store, blobs: Blobs, tmp_path: Path) -> None:
    some_corrected(store, blobs, 1)
    next(path for path in tmp_path.rglob("images/*/*")).write_bytes(b"x")
    with pytest.raises(StateError, match="is damaged in the store"):
        freeze(store, blobs, CONFIG)
