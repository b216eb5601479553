"""Writes that share a transaction: counted, each with its own outcome, in the order in which they came."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from records import correction, response
from served import wait_until
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError

from align.errors import Conflict, NotFound
from align.state import Store, group_commit
from align.state.group_commit import GroupCommit
from align.state.responses import insert_responses

pytestmark = pytest.mark.every_database


def add(name: str) -> Callable[[Connection], str]:
    def work(connection: Connection) -> str:
        insert_responses(connection, [response(name)])
        return name

    return work


@contextmanager
def queued(group: GroupCommit, *works: Callable[[Connection], str]) -> Iterator[list[Future[str]]]:
    """These writes, all waiting behind one that stands still until the block ends."""
    go_on, stands = threading.Event(), threading.Event()

    def stand(connection: Connection) -> str:
        stands.set()
        assert go_on.wait(20)
        return add("first")(connection)

    with ThreadPoolExecutor(len(works) + 1) as pool:
        first = pool.submit(group.run, stand)
        try:
            assert stands.wait(20)
            outcomes = []
            for number, work in enumerate(works, 1):
                outcomes.append(pool.submit(group.run, work))
                wait_until(lambda number=number: len(group._waiting) == number)  # type: ignore[misc]  # bound here
            yield outcomes
        finally:
            go_on.set()
        assert first.result(20) == "first"


def num_commits(store: Store) -> list[int]:
    counted = [0]

    def count(_: object) -> None:
        counted[0] += 1

    event.listen(store.database.engine, "commit", count)
    return counted


def ids(store: Store) -> list[str]:
    place = "rowid" if store.database.engine.name == "sqlite" else "ctid"  # where a row was put down
    with store.database.read() as connection:
        return list(connection.execute(text(f"SELECT id FROM responses ORDER BY {place}")).scalars())


def test_what_waits_is_committed_together_in_the_order_in_which_it_came(store: Store) -> None:
    commits = num_commits(store)
    names = [f"r{number}" for number in range(9)]
    with queued(store.database._group, *map(add, names)) as outcomes:
        pass
    assert [outcome.result() for outcome in outcomes] == names
    assert commits == [2]
    assert ids(store) == ["first", *names]


def test_a_batch_has_a_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_BATCH", 4)
    commits = num_commits(store)
    with queued(store.database._group, *(add(f"r{number}") for number in range(9))):
        pass
    assert commits == [1 + 3]
    assert len(ids(store)) == 10


def test_nobody_is_told_before_it_is_committed(store: Store) -> None:
    seen: list[list[str]] = []
    with queued(store.database._group, add("r1"), add("r2")) as outcomes:
        for outcome in outcomes:
            outcome.add_done_callback(lambda _: seen.append(ids(store)))
        assert not any(outcome.done() for outcome in outcomes)
    assert seen == [["first", "r1", "r2"]] * 2


def test_one_that_raises_is_undone_alone(store: Store) -> None:
    def half(connection: Connection) -> str:
        insert_responses(connection, [response("half")])
        raise Conflict("on the way")

    with queued(store.database._group, add("r1"), half, add("r1"), add("r2")) as outcomes:
        pass
    assert outcomes[0].result() == "r1"
    with pytest.raises(Conflict, match="on the way"):
        outcomes[1].result()
    with pytest.raises(Exception, match=r"UNIQUE constraint failed|violates unique constraint"):
        outcomes[2].result()
    assert outcomes[3].result() == "r2"
    assert ids(store) == ["first", "r1", "r2"]


@pytest.mark.parametrize(("names", "num_guarded"), [(("r1", "r2"), 0), (("r1", "r2", "r1"), 3)])
def test_only_where_one_raises_each_is_guarded(
    store: Store, names: tuple[str, ...], num_guarded: int
) -> None:
    guarded = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("SAVEPOINT"):
            guarded.append(statement)

    event.listen(store.database.engine, "before_cursor_execute", note)
    with queued(store.database._group, *map(add, names)):
        pass
    assert len(guarded) == num_guarded
    assert ids(store) == ["first", "r1", "r2"]


def test_one_that_raises_alone_is_undone_as_well(store: Store) -> None:
    def half(connection: Connection) -> str:
        insert_responses(connection, [response("half")])
        raise Conflict("on the way")

    for _ in range(2):
        with pytest.raises(Conflict, match="on the way"):
            store.database.write_together(half)
    assert store.database.write_together(add("r1")) == "r1"
    assert ids(store) == ["r1"]


@pytest.mark.parametrize("is_database", [True, False])
def test_where_the_transaction_fails_all_of_its_writes_fail_and_later_ones_do_not(
    store: Store, is_database: bool
) -> None:
    is_broken = False

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with store.database.write() as connection:
            yield connection
            if is_broken and not is_database:
                raise OSError("the disk is full")

    def break_down(connection: Connection) -> str:
        nonlocal is_broken
        is_broken = True
        if is_database:
            raise OperationalError("INSERT", {}, OSError("the disk is full"))
        return "told in vain"

    group = GroupCommit(transaction)
    with queued(group, add("r1"), break_down, add("r2")) as outcomes:
        pass
    for outcome in outcomes:
        with pytest.raises((OSError, OperationalError), match="the disk is full"):
            outcome.result()
    is_broken = False
    assert group.run(add("r3")) == "r3"
    assert ids(store) == ["first", "r3"]


def test_of_many_threads_each_gets_its_own_outcome(store: Store) -> None:
    store.responses.add(response("r"))

    def write(number: int) -> bool:
        kind = random.Random(number).choice(["response", "correction", "unknown", "conflict"])
        try:
            if kind == "response":
                store.responses.add(response(f"r{number}"))
            elif kind == "correction":
                stored = store.corrections.add(correction(f"c{number}", response_id="r"))
                assert stored.id == f"c{number}"
            elif kind == "unknown":
                store.corrections.add(correction(f"c{number}", response_id="nothing"))
            else:
                body = {"idempotency_key": "k", "body_sha256": f"body {number}"}
                store.corrections.add(correction(f"c{number}", response_id="r", **body))
        except NotFound:
            assert kind == "unknown"
        except Conflict:
            assert kind == "conflict"
            return True
        return False

    with ThreadPoolExecutor(32) as pool:
        conflicts = sum(pool.map(write, range(400)))
    kinds = [random.Random(n).choice(["response", "correction", "unknown", "conflict"]) for n in range(400)]
    assert conflicts == kinds.count("conflict") - 1
    assert len(ids(store)) == kinds.count("response") + 1
    corrections = store.corrections.page(1000)
    assert len(corrections) == kinds.count("correction") + 1
    assert [one.sequence for one in corrections] == list(range(1, len(corrections) + 1))


def test_a_commit_waits_for_the_disk(store: Store) -> None:
    """2: FULL. In WAL mode anything less would let a power failure undo what was answered."""
    for begin in (store.database.write_beside, store.database.write):
        with begin() as connection:
            if connection.dialect.name == "postgresql":
                assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
                continue
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
            assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
