"""The store: what is written survives, writers of many threads and processes lose nothing, and refusals say why."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from records import adapter_row, correction, response
from sqlalchemy import JSON, Float, Integer, String, create_engine, inspect

from align.errors import Conflict, NotFound, StateError
from align.state import Store, version_name, version_number
from align.state.database import Database
from align.state.migrations import MIGRATIONS, migrate
from align.state.replicas import Replica
from align.state.schema import metadata


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(url(tmp_path))
    yield store
    store.close()


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/errata.db"


# --- database


def kind(column_type: object) -> str:
    kinds = {JSON: "JSON", Float: "FLOAT", Integer: "INTEGER", String: "VARCHAR"}
    return next(name for type_, name in kinds.items() if isinstance(column_type, type_))


def test_a_migrated_database_is_the_schema_that_queries_see(store: Store, tmp_path: Path) -> None:
    engine = create_engine(url(tmp_path))
    try:
        inspector = inspect(engine)
        assert set(inspector.get_table_names()) - {"schema_version"} == set(metadata.tables)
        for name, table in metadata.tables.items():
            made = [(c["name"], kind(c["type"]), c["nullable"]) for c in inspector.get_columns(name)]
            seen = [(c.name, kind(c.type), bool(c.nullable)) for c in table.columns]
            # SQLite reports a primary key without NOT NULL as nullable
            keys = {c.name for c in table.primary_key}
            assert sorted((n, k, o and n not in keys) for n, k, o in made) == sorted(seen), name
            assert set(inspector.get_pk_constraint(name)["constrained_columns"]) == keys
    finally:
        engine.dispose()


def test_migrations_run_once(tmp_path: Path) -> None:
    first = Store(url(tmp_path))
    first.responses.add(response("r1"))
    first.close()
    again = Store(url(tmp_path))
    assert again.responses.get("r1").text == response("r1").text
    with again.database.write() as connection:
        migrate(connection)
    assert again.responses.get("r1").id == "r1"
    again.close()


def test_a_database_of_a_newer_errata_is_refused(tmp_path: Path) -> None:
    Store(url(tmp_path)).close()
    newer = len(MIGRATIONS) + 1
    connection = sqlite3.connect(tmp_path / "errata.db")
    connection.execute("UPDATE schema_version SET version = ?", (newer,))
    connection.commit()
    connection.close()
    with pytest.raises(
        StateError, match=f"has schema {newer}, this Errata knows up to {newer - 1}: start it"
    ):
        Store(url(tmp_path))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("no url at all", "is no database URL; use e.g. sqlite:////"),
        ("postgresql://host/errata", "postgresql is not supported yet; use a sqlite:/// URL"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
    ],
)
def test_a_database_that_cannot_be_shared_is_refused(bad: str, message: str) -> None:
    with pytest.raises(StateError, match=message):
        Database(bad)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "errata.db").write_bytes(b"this is a text, and not a short one: " * 200)
    with pytest.raises(StateError, match=r"cannot use .*errata.db as a database: file is not a database"):
        Store(url(tmp_path))


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(StateError, match=r"cannot use .*state/errata\.db as a database"):
        Store(url(tmp_path / "state"))


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    def fail_after_a_write() -> None:
        with store.database.write() as connection:
            connection.exec_driver_sql("INSERT INTO keys VALUES ('k', 1.0, 'n', 'd', '[]', NULL)")
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail_after_a_write()
    assert not store.keys.exist()


def _write_some(database_url: str, process: int) -> None:
    store = Store(database_url)

    def write(thread: int) -> None:
        for index in range(10):
            name = f"{process}-{thread}-{index}"
            store.responses.add(response(name))
            store.corrections.add(correction(name, response_id=name))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    store.close()


def test_writers_of_several_threads_and_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # all of them open, and migrate, the same blank file
    processes = [context.Process(target=_write_some, args=(url(tmp_path), n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = Store(url(tmp_path))
    corrections = store.corrections.page(1000)
    store.close()
    assert len({one.id for one in corrections}) == 90
    assert [one.sequence for one in corrections] == list(range(1, 91))


def _open_together(folder: Path, start: Barrier) -> None:
    for index in range(60):
        start.wait(60)
        Store(url(folder / str(index))).close()


def test_processes_that_open_a_new_database_at_once_wait_for_one_another(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(6)
    processes = [context.Process(target=_open_together, args=(tmp_path, start)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6


# --- responses and corrections


def test_a_response_comes_back_as_it_was_stored(store: Store) -> None:
    original = response("r1", text="Ein rotes Ei 🥚, e\u0301!", token_ids=[5, 0, 2**31])
    store.responses.add(original)
    assert store.responses.get("r1") == original


def test_an_unknown_response_is_not_found(store: Store) -> None:
    for act in (store.responses.get, store.erasures.response):
        with pytest.raises(NotFound, match="no response 'r9'"):
            act("r9")


def test_the_same_key_with_the_same_body_gives_the_same_record(store: Store) -> None:
    store.responses.add(response("r1"))
    first = store.corrections.add(correction("c1", idempotency_key="k"))
    again = store.corrections.add(correction("c2", idempotency_key="k"))
    assert again == first == store.corrections.get("c1")
    assert len(store.corrections.page(10)) == 1


def test_the_same_key_with_another_body_is_a_conflict(store: Store) -> None:
    store.responses.add(response("r1"))
    store.corrections.add(correction("c1", idempotency_key="k"))
    with pytest.raises(Conflict, match="idempotency key 'k' was used with another body"):
        store.corrections.add(correction("c2", idempotency_key="k", body_sha256="other"))
    store.corrections.add(correction("c3", idempotency_key="k", body_sha256="other", key_id="another caller"))
    store.corrections.add(correction("c4", idempotency_key=None))
    store.corrections.add(correction("c5", idempotency_key=None))
    assert [one.id for one in store.corrections.page(10)] == ["c1", "c3", "c4", "c5"]


def test_many_threads_with_one_key_make_one_record(store: Store) -> None:
    store.responses.add(response("r1"))
    barrier = threading.Barrier(12)

    def add(index: int) -> str:
        body = "even" if index % 2 == 0 else "odd"
        barrier.wait()
        try:
            return store.corrections.add(correction(f"c{index}", idempotency_key="k", body_sha256=body)).id
        except Conflict:
            return "conflict"

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(add, range(12)))
    (stored,) = store.corrections.page(10)
    assert sorted(answers) == sorted([stored.id] * 6 + ["conflict"] * 6)


def test_a_correction_of_an_unknown_response_is_refused(store: Store) -> None:
    with pytest.raises(NotFound, match="no response 'r1'"):
        store.corrections.add(correction("c1", response_id="r1"))


def test_pages_follow_the_order_of_arrival(store: Store) -> None:
    store.responses.add(response("r1"))
    for index in range(5):
        store.corrections.add(correction(f"c{index}", created=100.0 - index))
    assert [one.id for one in store.corrections.page(2)] == ["c0", "c1"]
    assert [one.id for one in store.corrections.page(9, after=2)] == ["c2", "c3", "c4"]
    assert store.corrections.last_sequence() == 5


def trainable_ids(store: Store, page_size: int = 256) -> list[str]:
    return [correction.id for correction, _ in store.corrections.trainable(page_size)]


def test_of_several_corrections_of_a_response_the_newest_counts(store: Store) -> None:
    for name in ("r1", "r2"):
        store.responses.add(response(name))
    store.corrections.add(correction("c1", response_id="r1"))
    store.corrections.add(correction("c2", response_id="r2"))
    store.corrections.add(correction("c3", response_id="r1"))
    assert trainable_ids(store) == ["c2", "c3"]
    assert [store.corrections.count_after(n) for n in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 7])
def test_pages_of_any_size_hold_each_trainable_correction_once_with_its_response(
    store: Store, page_size: int
) -> None:
    for index in range(6):
        store.responses.add(response(f"r{index}", text=f"answer {index}"))
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}"))
    store.erasures.correction("c1")
    store.erasures.correction("c2")
    found = [(one.id, about.text) for one, about in store.corrections.trainable(page_size)]
    assert found == [(f"c{index}", f"answer {index}") for index in (0, 3, 4, 5)]


def test_what_arrives_while_pages_are_read_is_left_out_and_replaces_nothing(store: Store) -> None:
    for index in range(3):
        store.responses.add(response(f"r{index}"))
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}"))
    pages = store.corrections.trainable(page_size=1)
    assert next(pages)[0].id == "c0"
    store.corrections.add(correction("late", response_id="r2"))
    assert [one.id for one, _ in pages] == ["c1", "c2"]
    assert trainable_ids(store) == ["c0", "c1", "late"]


def test_who_finds_nothing_wrong_in_the_end_takes_the_correction_back(store: Store) -> None:
    store.responses.add(response("r1"))
    store.corrections.add(correction("c1"))
    assert store.responses.uncorrected("base") == []
    store.corrections.add(correction("c2", status="nothing_wrong", spans=[]))
    assert trainable_ids(store) == []
    assert store.corrections.count_after(0) == 0, "it must not make a run due that has nothing to learn"


def test_quarantined_and_erased_corrections_do_not_teach(store: Store) -> None:
    for name in ("r1", "r2", "r3"):
        store.responses.add(response(name))
    store.corrections.add(correction("c1", response_id="r1"))
    store.corrections.add(correction("c2", response_id="r1", status="quarantined"))
    store.corrections.add(correction("c3", response_id="r2"))
    store.erasures.correction("c3")
    store.corrections.add(correction("c4", response_id="r3"))
    assert trainable_ids(store) == ["c1", "c4"]
    assert store.corrections.count_by_status() == {"accepted": 2, "quarantined": 1, "erased": 1}
    with pytest.raises(NotFound, match="no correction 'c9'"):
        store.erasures.correction("c9")


def test_an_answer_that_was_found_right_counts_as_uncorrected(store: Store) -> None:
    store.responses.add(response("right", created=1.0))
    store.responses.add(response("wrong", created=2.0))
    store.responses.add(response("newer", created=3.0))
    store.responses.add(response("cut off", created=4.0, finish_reason="length"))
    store.corrections.add(correction("c1", response_id="right", status="nothing_wrong", spans=[]))
    store.corrections.add(correction("c2", response_id="wrong"))
    store.responses.add(response("of another version", adapter="v0001"))
    assert set(store.responses.uncorrected("base")) == {"newer", "right"}
    assert store.responses.uncorrected("v0001") == ["of another version"]


def test_responses_are_counted_by_adapter(store: Store) -> None:
    for name, adapter in (("r1", "base"), ("r2", "v0001"), ("r3", "v0001")):
        store.responses.add(response(name, adapter=adapter))
    assert store.responses.count_by_adapter() == {"base": 1, "v0001": 2}


# --- runs


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


# --- adapters and rollouts


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


# --- replicas and keys


def test_replicas_are_alive_by_their_heartbeat(store: Store) -> None:
    here = Replica("a", 100.0, "http://127.0.0.1:1/metrics", 3, None, ["v0001"])
    store.replicas.report(here)
    store.replicas.report(replace(here, id="b", heartbeat=90.0, failure={"generation": 3, "reason": "no"}))
    assert [replica.id for replica in store.replicas.alive(since=95.0)] == ["a"]
    store.replicas.report(replace(here, heartbeat=200.0, prepared=4))
    assert store.replicas.alive(since=150.0) == [replace(here, heartbeat=200.0, prepared=4)]
    store.replicas.remove("a")
    assert [replica.id for replica in store.replicas.alive(since=0.0)] == ["b"]


def test_keys_are_kept_hashed_and_found_by_their_secret(store: Store, tmp_path: Path) -> None:
    assert not store.keys.exist()
    key, secret = store.keys.create("ada", ["chat"])
    assert store.keys.find(secret) == key
    assert store.keys.find(secret[:-1]) is None
    store.database.empty_log()
    assert secret.encode() not in (tmp_path / "errata.db").read_bytes()


def test_a_revoked_key_is_not_found_but_was_there(store: Store) -> None:
    key, secret = store.keys.create("ada", ["chat"])
    store.keys.revoke(key.id)
    assert store.keys.find(secret) is None
    assert store.keys.active() == []
    assert store.keys.exist(), "to revoke the last key must not open the server"
    with pytest.raises(NotFound, match=r"no key 'key-9'; `errata keys list`"):
        store.keys.revoke("key-9")


def test_scopes_allow_what_they_name_and_admin_allows_all(store: Store) -> None:
    chat, _ = store.keys.create("ada", ["chat"])
    admin, _ = store.keys.create("eve", ["admin"])
    assert [chat.allows(scope) for scope in ("chat", "feedback", "admin")] == [True, False, False]
    assert all(admin.allows(scope) for scope in ("chat", "feedback", "admin"))


@pytest.mark.parametrize(
    ("scopes", "message"), [(["chat", "root"], "unknown scope root"), ([], "without scopes")]
)
def test_unknown_scopes_are_refused(store: Store, scopes: list[str], message: str) -> None:
    with pytest.raises(StateError, match=message):
        store.keys.create("ada", scopes)
