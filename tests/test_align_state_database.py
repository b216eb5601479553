"""The database: opened by many at once, migrated, and written to by threads and processes that lose nothing."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from records import correction, response
from sqlalchemy import JSON, Float, Integer, String, inspect, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from align.errors import StateError
from align.state import Store
from align.state.database import Database
from align.state.migrations import MIGRATIONS, migrate
from align.state.schema import metadata

pytestmark = pytest.mark.every_database


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/errata.db"


def kind(column_type: object) -> str:
    kinds = {JSON: "JSON", Float: "FLOAT", Integer: "INTEGER", String: "VARCHAR"}
    return next(name for type_, name in kinds.items() if isinstance(column_type, type_))


def test_a_migrated_database_is_the_schema_that_queries_see(store: Store) -> None:
    with store.database.read() as connection:
        inspector = inspect(connection)
        assert set(inspector.get_table_names()) - {"schema_version"} == set(metadata.tables)
        for name, table in metadata.tables.items():
            made = [(c["name"], kind(c["type"]), c["nullable"]) for c in inspector.get_columns(name)]
            seen = [(c.name, kind(c.type), bool(c.nullable)) for c in table.columns]
            # SQLite reports a primary key without NOT NULL as nullable
            keys = {c.name for c in table.primary_key}
            assert sorted((n, k, o and n not in keys) for n, k, o in made) == sorted(seen), name
            assert set(inspector.get_pk_constraint(name)["constrained_columns"]) == keys


def test_migrations_run_once(database_url: str) -> None:
    first = Store(database_url)
    first.responses.add(response("r1"))
    first.close()
    again = Store(database_url)
    assert again.responses.get("r1").text == response("r1").text
    with again.database.write() as connection:
        migrate(connection)
    assert again.responses.get("r1").id == "r1"
    again.close()


def test_a_database_of_a_newer_errata_is_refused(store: Store) -> None:
    newer = len(MIGRATIONS) + 1
    with store.database.write() as connection:
        connection.execute(text("UPDATE schema_version SET version = :newer"), {"newer": newer})
    with pytest.raises(
        StateError, match=f"has schema {newer}, this Errata knows up to {newer - 1}: start it"
    ):
        Store(store.database.url)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("no url at all", "must be a URL, e.g. sqlite:////"),
        ("mysql://host/errata", "mysql is not supported; use sqlite:/// or postgresql://"),
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
            connection.exec_driver_sql("INSERT INTO keys VALUES ('k', 1.0, 'n', 'd', '[]', NULL, NULL, NULL)")
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


def test_writers_of_several_threads_and_processes_lose_nothing(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")  # all of them open, and migrate, the same blank file
    processes = [context.Process(target=_write_some, args=(database_url, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = Store(database_url)
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


def test_an_error_of_the_database_holds_none_of_people_s_words(store: Store) -> None:
    """Errors are logged, and logs outlive an erasure."""
    with (
        pytest.raises((OperationalError, ProgrammingError)) as error,
        store.database.write() as connection,
    ):
        connection.execute(text("INSERT INTO nowhere VALUES (:words)"), {"words": "somebody's words"})
    assert "nowhere" in str(error.value)
    assert "somebody's words" not in str(error.value)
