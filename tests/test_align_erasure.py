"""What is erased is gone: from tables, database files, blobs and the next run; what learned from it is marked."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import adapter_row, correction, response, running
from sqlalchemy import select

from align.alignment import publish
from align.config import AlignmentConfig
from align.erasure import erase_correction, erase_response, erase_source, remove_traces
from align.errors import Conflict, NotFound, StateError
from align.gate import Verdict
from align.manifest import freeze
from align.state import Blobs, Store, blobs, schema, sqlite, taint
from align.state.insertions import Inserted
from align.training import TrainingResult

pytestmark = pytest.mark.every_database

CONFIG = AlignmentConfig(held_out_share=0.5)


@pytest.fixture
def tree(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs"), cache=tmp_path / "cache")


def answer(store: Store, tree: Blobs, name: str, image: bytes | None = None, **changes: Any) -> None:
    """As a replica records it: images, then the row, under whose lock they are put once more."""
    parts: list[dict[str, str]] = [{"type": "text", "text": f"What is in {name}?"}]

    def put() -> str:
        return "" if image is None else tree.put_image(image)

    if image is not None:
        parts.append({"type": "image", "sha256": put()})
    conversation = [{"role": "user", "content": parts}]
    store.responses.add(response(name, **{"conversation": conversation, **changes}), put)


def corrected(store: Store, tree: Blobs, number: int, **changes: Any) -> None:
    for index in range(number):
        answer(store, tree, f"r{index}", f"image {index}".encode())
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}", **changes))


def learned(store: Store, *corrections: str, general: tuple[str, ...] = (), **changes: Any) -> str:
    """The version that a run made of the corrections."""
    run_id = running(store)
    store.runs.update(store.runs.get(run_id), manifest=manifest(*corrections, general=general))
    return adapter_row(store, run_id=run_id, **changes).version


def manifest(*corrections: str, general: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"train": corrections[:1], "held_out": corrections[1:], "general": general}


def kept(store: Store, folder: Path) -> bytes:
    """All that is in the files; of PostgreSQL, whose files are its own, all that is in the tables."""
    if store.database.engine.name == "sqlite":
        return files(folder)
    with store.database.read() as connection:
        rows = [row for table in schema.metadata.sorted_tables for row in connection.execute(select(table))]
    return files(folder) + str(rows).encode()


def files(folder: Path) -> bytes:
    """Every byte under the state's folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# --- gone


def test_a_response_leaves_neither_words_nor_images_nor_hashes_in_any_file(
    store: Store, tree: Blobs, tmp_path: Path
) -> None:
    secrets = {name: f"the neighbour's {name} ".encode() * 40 for name in ("plate", "garden", "stop", "fix")}
    image = b"pixels of the neighbour" * 50
    answer(
        store,
        tree,
        "r1",
        image,
        text=secrets["plate"].decode(),
        sampling={"stop": [secrets["stop"].decode()], "max_tokens": 16},
    )
    answer(store, tree, "kept", b"another image", text="a kept answer")
    more = {"corrected_text": secrets["fix"].decode(), "author": "ada lovelace", "body_sha256": "f00d" * 16}
    more |= {"source": "anonymous/ada lovelace", "questioned": ["the words in question"]}
    spans = [{"start": 0, "end": 3, "replacement": secrets["garden"].decode(), "kind": "object"}]
    inserted = Inserted("f" * 64, frozenset({"an inserted phrase"}))
    store.corrections.add(correction("c1", spans=spans, **more), inserted)
    marks = [*(secret[:20] for secret in secrets.values()), image[:20], b"ada lovelace", b"f00df00d"]
    marks += [b"the words in question", b"an inserted phrase"]
    marks.append(b"What is in r1?")
    assert [mark in kept(store, tmp_path) for mark in marks] == [True] * len(marks)

    erasure = erase_response(store, tree, "r1")
    assert (erasure.responses, erasure.corrections) == (("r1",), ("c1",))
    assert [mark in kept(store, tmp_path) for mark in marks] == [False] * len(marks)
    assert b"a kept answer" in kept(store, tmp_path)
    assert b"another image" in files(tmp_path)
    erased, gone = store.responses.get("r1"), store.corrections.get("c1")
    assert (erased.is_erased, erased.text, erased.token_ids) == (True, "", [])
    assert (erased.conversation, erased.sampling) == ([], {})
    assert (gone.status, gone.corrected_text, gone.spans, gone.author) == ("erased", "", [], None)


def test_a_correction_goes_and_its_response_stays(store: Store, tree: Blobs, tmp_path: Path) -> None:
    answer(store, tree, "r1", b"image", text="a red cup")
    store.corrections.add(correction("c1", corrected_text="the neighbour's cup", idempotency_key="k"))
    erasure = erase_correction(store, tree, "c1")
    assert (erasure.responses, erasure.corrections) == ((), ("c1",))
    assert b"the neighbour's cup" not in files(tmp_path)
    assert store.responses.get("r1").text == "a red cup"
    assert b"image" in files(tmp_path)
    assert list(store.corrections.trainable()) == []
    with pytest.raises(Conflict, match="the correction with idempotency key 'k' was deleted"):
        store.corrections.add(correction("c2", idempotency_key="k"))


def test_of_an_author_that_a_key_names_only_what_they_corrected_goes(
    store: Store, tree: Blobs, tmp_path: Path
) -> None:
    answer(store, tree, "r1", b"image", key_id="app")
    for author in ("ada", "bob"):
        source = {"key_id": "app", "author": author, "source": f"app/{author}"}
        inserted = Inserted("f" * 64, frozenset({f"words of {author}"}))
        store.corrections.add(correction(author, **source), inserted)
    erasure = erase_source(store, tree, "app/ada")
    assert (erasure.responses, erasure.corrections) == ((), ("ada",))
    assert [one.id for one, _ in store.corrections.trainable()] == ["bob"]
    assert [mark in kept(store, tmp_path) for mark in (b"words of ada", b"app/ada")] == [False, False]
    assert b"words of bob" in kept(store, tmp_path)


def test_what_a_first_try_left_of_an_author_goes_with_the_second(
    store: Store, tree: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(store, tree, "r1", b"image", key_id="app")
    store.corrections.add(correction("c1", key_id="app", author="ada", source="app/ada"))
    emptied: list[str] = []
    monkeypatch.setattr(store.database, "empty_log", lambda: emptied.append("again"))
    store.erasures.source("app/ada")  # and then it is cut off
    with pytest.raises(NotFound, match="erased already"):
        erase_source(store, tree, "app/ada")
    assert emptied


def test_a_source_goes_with_all_that_it_was_told_and_all_that_it_said(store: Store, tree: Blobs) -> None:
    answer(store, tree, "r1", b"mine", key_id="key-1")
    answer(store, tree, "r2", b"other", key_id="key-2")
    store.corrections.add(correction("mine", response_id="r1", key_id="key-1"))
    store.corrections.add(correction("of mine", response_id="r1", key_id="admin"))
    store.corrections.add(correction("of another's", response_id="r2", key_id="key-1"))
    store.corrections.add(correction("another's", response_id="r2", key_id="key-2"))
    erasure = erase_source(store, tree, "key-1")
    assert erasure.responses == ("r1",)
    assert set(erasure.corrections) == {"mine", "of mine", "of another's"}
    assert [one.id for one, _ in store.corrections.trainable()] == ["another's"]
    assert not store.responses.get("r2").is_erased


def test_an_erased_response_takes_no_correction(store: Store, tree: Blobs) -> None:
    answer(store, tree, "r1")
    erase_response(store, tree, "r1")
    with pytest.raises(NotFound, match="or it was erased"):
        store.corrections.add(correction("c1"))


def test_erasing_twice_is_erasing_once_and_unknown_ids_are_not_found(store: Store, tree: Blobs) -> None:
    corrected(store, tree, 1)
    learned(store, "c0")
    first = erase_response(store, tree, "r0")
    assert (first.responses, first.corrections, first.tainted) == (("r0",), ("c0",), ("v0001",))
    marked = store.adapters.get("v1").tainted
    assert erase_response(store, tree, "r0") == erase_source(store, tree, "anonymous")
    assert erase_response(store, tree, "r0") == replace(first, run_id=None)
    assert store.adapters.get("v1").tainted == marked
    for erase, unknown in ((erase_response, "r9"), (erase_correction, "c9"), (erase_source, "key-9")):
        with pytest.raises(NotFound, match=f"'{unknown}'"):
            erase(store, tree, unknown)


# --- images


def test_an_image_goes_with_the_last_response_that_shows_it(store: Store, tree: Blobs) -> None:
    for name in ("r1", "r2"):
        answer(store, tree, name, b"shared")
    digest = tree.put_image(b"shared")
    erase_response(store, tree, "r1")
    assert tree.get_image(digest) == b"shared"
    erase_response(store, tree, "r2")
    with pytest.raises(NotFound, match="is not in the store"):
        tree.get_image(digest)


def test_what_was_made_from_an_image_goes_with_it(store: Store, tree: Blobs, tmp_path: Path) -> None:
    answer(store, tree, "r1", b"image")
    digest = tree.put_image(b"image")
    derived = tmp_path / "cache" / "features" / f"base-{digest}.safetensors"
    half_written = tmp_path / "blobs" / "images" / digest[:2] / f".{digest}.0"
    being_written = half_written.with_name(f".{digest}.1")
    for path in (derived, half_written, being_written, derived.with_name("another")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"features")
    long_ago = time.time() - blobs.HALF_WRITTEN_S - 1
    os.utime(half_written, (long_ago, long_ago))
    erase_response(store, tree, "r1")
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in left if digest in name} == {being_written.name}
    assert "another" in left


def test_images_in_a_remote_store_go_as_well(store: Store, tmp_path: Path) -> None:
    remote = Blobs(f"memory://{tmp_path.name}", cache=tmp_path / "cache")
    answer(store, remote, "r1", b"image")
    erase_response(store, remote, "r1")
    with pytest.raises(NotFound):
        remote.get_image(blobs.hashlib.sha256(b"image").hexdigest())


def test_an_image_that_is_deleted_while_an_answer_to_it_is_recorded_is_there_in_the_end(
    store: Store, tree: Blobs
) -> None:
    answer(store, tree, "r0", b"image")

    def record(index: int) -> None:
        answer(store, tree, f"r{index + 1}", b"image")

    def erase(index: int) -> None:
        erase_response(store, tree, f"r{index}")

    with ThreadPoolExecutor(2) as pool:
        for index in range(40):
            for done in [pool.submit(record, index), pool.submit(erase, index)]:
                done.result()
            kept = store.responses.get(f"r{index + 1}")
            assert not kept.is_erased
            assert tree.get_image(kept.conversation[0]["content"][1]["sha256"]) == b"image"


def test_an_image_deleted_between_its_storing_and_its_record_is_stored_again(
    store: Store, tree: Blobs
) -> None:
    answer(store, tree, "r1", b"image")
    digest = tree.put_image(b"image")  # of r2, which finds it there
    erase_response(store, tree, "r1")
    parts = [{"type": "image", "sha256": digest}]
    coming = response("r2", conversation=[{"role": "user", "content": parts}])
    store.responses.add(coming, lambda: tree.put_image(b"image"))
    assert tree.get_image(digest) == b"image"


def test_images_that_a_crash_left_are_removed_the_next_time(store: Store, tree: Blobs) -> None:
    for index in range(3):
        answer(store, tree, f"r{index}", f"image {index}".encode(), key_id="key-1")
    removed: list[str] = []

    def crash(digest: str) -> None:
        if len(removed) == 1:
            raise KeyboardInterrupt
        removed.append(digest)
        tree.remove_image(digest)

    store.erasures.source("key-1")
    with pytest.raises(KeyboardInterrupt):
        store.erasures.remove_images(crash)
    remove_traces(store, tree)
    for index in range(3):
        with pytest.raises(NotFound):
            tree.get_image(blobs.hashlib.sha256(f"image {index}".encode()).hexdigest())
    assert store.erasures.remove_images(removed.append) == 0


def test_more_images_than_one_transaction_takes_are_all_removed(store: Store, tree: Blobs) -> None:
    shown = [f"{index:064x}" for index in range(250)]
    parts = [{"type": "image", "sha256": digest} for digest in shown]
    store.responses.add(response("r1", conversation=[{"role": "user", "content": parts}]))
    store.responses.add(response("r2", conversation=[{"role": "user", "content": parts[:2]}]))
    store.erasures.response("r1")
    removed: list[str] = []
    assert store.erasures.remove_images(removed.append) == 248
    assert sorted(removed) == shown[2:]


# --- whatever the order


ACTS = st.lists(
    st.tuples(st.sampled_from(["answer", "correct", "response", "correction", "source"]), st.integers(0, 5)),
    min_size=4,
    max_size=20,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_whatever_is_said_and_erased_the_files_hold_what_is_kept_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("state")
    store, tree = Store(f"sqlite:///{folder}/errata.db"), Blobs(str(folder / "blobs"), folder / "cache")
    answers: dict[str, int] = {}  # kept responses: their image
    corrections: dict[str, str] = {}  # kept corrections: their response
    for number, (act, choice) in enumerate(acts):
        one = sorted(answers)[choice % len(answers)] if answers else None
        if act == "answer":
            name = f"r{number}"
            answers[name] = choice % 3
            image, key = f"<image {choice % 3}>".encode(), f"key-{choice % 2}"
            answer(store, tree, name, image, text=f"<said in {name}>", key_id=key)
        elif one is not None and act == "correct":
            corrections[f"c{number}"] = one
            text = f"<better in c{number}>"
            store.corrections.add(correction(f"c{number}", response_id=one, corrected_text=text))
        elif one is not None and act == "response":
            erase_response(store, tree, one)
            del answers[one]
        elif corrections and act == "correction":
            erase_correction(store, tree, gone := sorted(corrections)[choice % len(corrections)])
            del corrections[gone]
        elif one is not None and act == "source":
            key = store.responses.get(one).key_id
            erase_source(store, tree, key)
            answers = {
                name: shown for name, shown in answers.items() if store.responses.get(name).key_id != key
            }
        corrections = {name: of for name, of in corrections.items() if of in answers}
    store.database.empty_log()
    found = set(re.findall(rb"<[a-z]+ [ \w]+>", files(folder)))
    store.close()
    assert found == {
        *(f"<image {image}>".encode() for image in answers.values()),
        *(f"<said in {name}>".encode() for name in answers),
        *(f"<better in {name}>".encode() for name in corrections),
    }


# --- the write-ahead log


def test_a_reader_that_keeps_old_words_in_the_log_is_waited_for_and_then_named(
    tmp_path: Path, tree: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "TIMEOUT_S", 0.2)
    store = Store(f"sqlite:///{tmp_path}/errata.db")
    answer(store, tree, "r1", text="the neighbour's licence plate")
    with closing(sqlite3.connect(tmp_path / "errata.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM responses").fetchall()
        with pytest.raises(StateError, match=r"erased words are still in .*errata\.db-wal"):
            erase_response(store, tree, "r1")
        assert store.responses.get("r1").is_erased
        assert b"licence plate" in files(tmp_path)
        reader.execute("COMMIT")
        erase_response(store, tree, "r1")
    assert b"licence plate" not in files(tmp_path)
    store.close()


# --- what learned from it


@pytest.mark.parametrize(
    ("erase", "item"), [(erase_correction, "c0"), (erase_response, "r0"), (erase_response, "g")]
)
def test_every_adapter_whose_manifest_holds_it_is_tainted_and_no_other(
    store: Store, tree: Blobs, erase: Callable[..., Any], item: str
) -> None:
    corrected(store, tree, 3)
    answer(store, tree, "g")
    learned(store, "c0", "c1", general=("g",))
    learned(store, "c1", "c2")
    learned(store, "c1", "c0", general=("g",), status="refused")
    erasure = erase(store, tree, item)
    assert erasure.tainted == ("v0001", "v0003")
    assert [adapter.tainted is not None for adapter in store.adapters.all()] == [True, False, True]
    assert [adapter.may_serve for adapter in store.adapters.all()] == [False, True, False]
    (waiting,) = [run for run in store.runs.recent() if run.status == "requested"]
    assert (erasure.run_id, waiting.trigger) == (waiting.id, "erasure")


def test_what_no_run_has_seen_taints_nothing_and_asks_for_no_run(store: Store, tree: Blobs) -> None:
    corrected(store, tree, 2)
    learned(store, "c1")
    erasure = erase_correction(store, tree, "c0")
    assert (erasure.tainted, erasure.run_id) == ((), None)
    assert [run.status for run in store.runs.recent()] == ["admitted"]


def test_a_run_that_waits_already_is_the_one_that_is_asked_for(store: Store, tree: Blobs) -> None:
    corrected(store, tree, 1)
    learned(store, "c0")
    waiting = store.runs.request("count")
    assert erase_correction(store, tree, "c0").run_id == waiting.id
    assert store.runs.get(waiting.id).trigger == "erasure"
    assert store.runs.request("request").trigger == "erasure", "the strongest reason is kept"


def test_a_tainted_adapter_may_not_be_promoted_and_a_rollout_under_way_is_given_up(
    store: Store, tree: Blobs
) -> None:
    corrected(store, tree, 2)
    learned(store, "c0")
    learned(store, "c1")
    store.rollouts.propose("v0002", "v0001", 0.5)
    erase_correction(store, tree, "c0")
    newest = store.rollouts.newest()
    assert (newest.status, newest.reason) == ("abandoned", "what it learned from was erased or rejected")
    with pytest.raises(Conflict, match="what v0001 learned from was erased"):
        store.rollouts.propose("v0001")
    assert store.rollouts.desired().withheld == {"v0001"}
    store.rollouts.propose("v0002")
    erase_correction(store, tree, "c1")
    assert store.rollouts.newest().status == "abandoned"


def test_a_rollout_in_force_stays_until_another_takes_its_place(store: Store, tree: Blobs) -> None:
    corrected(store, tree, 1)
    learned(store, "c0")
    store.rollouts.commit(store.rollouts.propose("v0001").generation, ahead_s=0.0)
    erase_correction(store, tree, "c0")
    assert store.rollouts.in_force().live == "v0001"


def result(folder: Path) -> TrainingResult:
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights that learned it")
    return TrainingResult(str(adapter), "d1", 3, (), (), {}, (0.0,) * 4, (), 1.0)


ADMITTED = Verdict("admitted", (), (), {}, 20, 20)


def test_what_is_erased_during_a_run_keeps_its_adapter_from_being_published(
    store: Store, tree: Blobs, tmp_path: Path
) -> None:
    corrected(store, tree, 4)
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    store.runs.update(run, manifest=manifest("c0", "c1"))
    assert erase_correction(store, tree, "c3").run_id is None, "the run has not seen this one"
    erasure = erase_correction(store, tree, "c1")
    assert (erasure.tainted, erasure.run_id is not None) == ((), True)
    made = result(tmp_path / "work")
    with pytest.raises(Conflict, match="c1 was erased during the run; one without it is asked for"):
        publish(store, tree, run, made, ADMITTED, {})
    assert store.adapters.all() == []
    with pytest.raises(NotFound):
        tree.fetch_folder("adapters/d1")
    assert b"weights that learned it" not in files(tmp_path / "blobs")


def test_what_is_gone_is_found_among_the_items_of_a_run_however_many_those_are(
    store: Store, tree: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrected(store, tree, 4)
    for number in range(5):
        answer(store, tree, f"right-{number}")
    for name in ("c0", "c2"):
        erase_correction(store, tree, name)
    for name in ("right-0", "right-2", "right-4"):
        erase_response(store, tree, name)
    monkeypatch.setattr(taint, "ITEMS_A_QUERY", 2)
    seen = manifest("c1", "c2", general=tuple(f"right-{number}" for number in range(1, 5)))
    assert store.erasures.among(seen) == ["c2", "right-2", "right-4"], "it has not seen the others"
    assert store.erasures.among(None) == []


def test_files_that_an_earlier_equal_adapter_needs_stay(store: Store, tree: Blobs, tmp_path: Path) -> None:
    corrected(store, tree, 1)
    made = result(tmp_path / "work")
    publish(store, tree, replace(store.runs.request("count"), id=running(store)), made, ADMITTED, {})
    run_id = running(store)
    store.runs.update(store.runs.get(run_id), manifest=manifest("c0"))
    erase_correction(store, tree, "c0")
    with pytest.raises(Conflict):
        publish(store, tree, store.runs.get(run_id), made, ADMITTED, {})
    assert tree.fetch_folder("adapters/d1").is_dir()


def test_a_run_that_may_be_reading_the_words_just_now_is_followed_by_another(
    store: Store, tree: Blobs
) -> None:
    corrected(store, tree, 1)
    store.runs.request("request")
    store.runs.claim()
    assert erase_correction(store, tree, "c0").run_id is not None


def test_the_next_run_learns_from_nothing_that_was_erased(store: Store, tree: Blobs) -> None:
    corrected(store, tree, 12)
    for index in range(3):
        answer(store, tree, f"general{index}", key_id="key-1")
    erase_correction(store, tree, "c0")
    erase_response(store, tree, "r1")
    erase_response(store, tree, "general0")
    frozen = freeze(store, tree, CONFIG)
    seen = {example.id for example in (*frozen.train, *frozen.held_out)}
    assert seen == {f"c{index}" for index in range(2, 12)}
    assert {example.id for example in frozen.general} == {"general1", "general2"}
    erase_source(store, tree, "key-1")
    assert freeze(store, tree, CONFIG).general == []
