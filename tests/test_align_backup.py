"""A backup holds all that is needed: everything is destroyed between it and its restoration."""

from __future__ import annotations

import json
import shutil
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from postgresql_server import PostgreSQLServer
from psycopg import ServerCursor
from records import adapter_row, claimed, correction, response
from sqlalchemy import event, select

from align.backup import PASSING, back_up, restore
from align.errors import StateError
from align.gate.report import report_folder
from align.state import Blobs, Store, schema

KINDS = ("one machine", "cluster")
Place = tuple[str, str, Path]  # database, blobs, cache


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str], Place]:
    def make(kind: str, name: str) -> Place:
        folder = tmp_path / name
        folder.mkdir()
        if kind == "one machine":
            return f"sqlite:///{folder}/errata.db", str(folder / "blobs"), folder / "cache"
        server, s3 = request.getfixturevalue("postgresql"), request.getfixturevalue("s3")
        return (
            server.new_database(),
            f"{s3.new_bucket(f'errata-{name}-{id(folder)}')}/errata",
            folder / "cache",
        )

    return make


def fill(store: Store, blobs: Blobs, folder: Path) -> str:
    """Something in each table that lasts; returns the image."""
    image = blobs.put_image(b"an image")
    part = {"type": "image", "sha256": image}
    conversation = [{"role": "user", "content": [part]}]
    store.responses.add(
        response("r1", conversation=conversation, text="caf\u00e9 \0 \U0001f600", created=1.1)
    )
    store.responses.add(response("r2"))
    store.corrections.add(correction("c1", idempotency_key="k"))
    store.keys.create("ada", ["chat"])
    store.secrets.get("tokens")
    files = folder / "adapter"
    files.mkdir(parents=True)
    (files / "adapter_config.json").write_text("{}")
    (files / "adapter_model.safetensors").write_bytes(bytes(range(256)))
    blobs.put_folder(files, "adapters/d")
    run = claimed(store)
    adapter_row(store, run=run)
    report = folder / "report"
    report.mkdir()
    (report / "report.html").write_text("why it was admitted")
    blobs.put_folder(report, report_folder(run.id))
    adapter_row(store)  # of an earlier Errata, without a report
    store.rollouts.propose("v0001")
    return image


def rows(store: Store) -> dict[str, list[object]]:
    with store.database.read() as connection:
        return {
            name: sorted(map(repr, connection.execute(select(table))))
            for name, table in schema.metadata.tables.items()
            if name not in PASSING
        }


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_everything_comes_back_after_everything_was_destroyed(
    place: Callable[[str, str], Place], tmp_path: Path, source: str, target: str
) -> None:
    url, root, cache = place(source, "source")
    blobs, file = Blobs(root, cache), tmp_path / "errata.tar"
    with closing(Store(url)) as store:
        image = fill(store, blobs, tmp_path / "made")
        before, run_id = rows(store), store.adapters.get("v0001").run_id
        made = back_up(store.database, blobs, file)
    assert (made.images, made.adapters, made.missing) == (1, 1, 0)
    assert file.stat().st_mode & 0o777 == 0o600
    blobs.remove_image(image)
    blobs.remove_folder("adapters/d")
    blobs.remove_folder(report_folder(run_id))
    shutil.rmtree(tmp_path / "source")
    shutil.rmtree(tmp_path / "made")

    url, root, cache = place(target, "target")
    blobs = Blobs(root, cache)
    restore(url, blobs, file)
    with closing(Store(url)) as store:
        assert rows(store) == before
        assert store.corrections.add(correction("c2", response_id="r2")).sequence == 2
        assert adapter_row(store).version == "v0003"
    assert blobs.get_image(image) == b"an image"
    assert (blobs.fetch_folder(report_folder(run_id)) / "report.html").read_text() == "why it was admitted"
    assert (blobs.fetch_folder("adapters/d") / "adapter_model.safetensors").read_bytes() == bytes(range(256))


@pytest.mark.every_database
def test_a_backup_beside_writers_is_of_one_moment(store: Store, blobs: Blobs, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            store.responses.add(response(f"r{number}"))
            store.corrections.add(correction(f"c{number}", response_id=f"r{number}"))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            made = back_up(store.database, blobs, tmp_path / f"{number}.tar")
            assert made.rows["responses"] - made.rows["corrections"] in (0, 1)
            with closing(Store(f"sqlite:///{tmp_path}/{number}.db")) as blank:
                restore(blank.database.url, blobs, tmp_path / f"{number}.tar")
                assert len(blank.corrections.page(10**6)) == made.rows["corrections"]
    finally:
        stop.set()
        writer.join()


def test_neither_a_backup_nor_its_restoration_holds_all_rows_at_once(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align.backup.ROWS_AT_ONCE", 10)
    num_rows, length = 400, 50_000
    for number in range(num_rows):
        store.responses.add(response(f"r{number}", text=f"{number:0{length}}"))
    file, urls, all_rows = tmp_path / "errata.tar", [""], num_rows * length

    def blank() -> str:
        urls.append(f"sqlite:///{tmp_path}/{len(urls)}.db")
        return urls[-1]

    assert peak_of(lambda: back_up(store.database, blobs, file)) < all_rows / 4
    assert peak_of(lambda: restore(blank(), blobs, file)) < all_rows / 4
    with closing(Store(urls[-1])) as restored:
        assert restored.responses.get("r399") == store.responses.get("r399")


def peak_of(act: Callable[[], object]) -> int:
    """Bytes that Python had at most beside what it has."""
    act()  # what is imported and remembered at the first time is not of the rows
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_postgresql_keeps_the_rows_of_a_backup_until_they_are_fetched(
    postgresql: PostgreSQLServer, blobs: Blobs, tmp_path: Path
) -> None:
    with closing(Store(postgresql.new_database())) as store:
        cursors: dict[str, bool] = {}

        @event.listens_for(store.database.engine, "before_cursor_execute")
        def look(_connection: object, cursor: object, statement: str, *_: object) -> None:
            for name in schema.metadata.tables:
                if f"FROM {name}" in statement:
                    cursors[name] = isinstance(cursor, ServerCursor)

        back_up(store.database, blobs, tmp_path / "errata.tar")
    assert cursors["responses"]
    assert all(cursors.values())


def test_a_backup_of_an_earlier_schema_is_restored_as_today_s(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    store.responses.add(response("r1"))
    file = tmp_path / "today.tar"
    back_up(store.database, blobs, file)
    earlier = tmp_path / "earlier.tar"
    _rewrite(file, earlier, schema_version=9)
    url = f"sqlite:///{tmp_path}/restored.db"
    restore(url, blobs, earlier)
    with closing(Store(url)) as restored:
        assert restored.responses.get("r1") == store.responses.get("r1")


def _rewrite(file: Path, other: Path, schema_version: int) -> None:
    """The same backup, as if it had that schema."""
    with tarfile.open(file) as old, tarfile.open(other, "w") as new:
        for member in old.getmembers():
            data = old.extractfile(member)
            assert data is not None
            if member.name != "backup.json":
                new.addfile(member, data)
                continue
            listed = json.loads(data.read()) | {"schema": schema_version}
            (other.parent / "list").write_text(json.dumps(listed))
            new.add(other.parent / "list", "backup.json")


def test_what_cannot_be_restored_is_refused_and_changes_nothing(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    fill(store, blobs, tmp_path / "made")
    file, new = tmp_path / "errata.tar", f"sqlite:///{tmp_path}/new.db"
    back_up(store.database, blobs, file)
    with pytest.raises(
        StateError, match="the database is not empty: it has responses; restore into a new one"
    ):
        restore(store.database.url, blobs, file)
    data = file.read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[: len(data) // 2 // 512 * 512])
    (tmp_path / "text.tar").write_text("no backup" * 100)
    (tmp_path / "damaged.tar").write_bytes(data.replace(b"A red cup", b"A rid cup"))
    (tmp_path / "foreign.tar").write_bytes(data.replace(b'"keys"', b'"kyes"'))
    _rewrite(file, tmp_path / "newer.tar", 1000)
    for name, message in (
        ("cut.tar", "is no whole backup"),
        ("text.tar", "cannot be read as a backup"),
        ("missing.tar", "cannot be read as a backup"),
        ("damaged.tar", "the rows of .* are damaged"),
        ("foreign.tar", "the rows of kyes cannot be read"),
        ("newer.tar", "has schema 1000, this Errata knows up to"),
    ):
        with pytest.raises(StateError, match=message):
            restore(new, blobs, tmp_path / name)
    restore(new, blobs, file)


@pytest.mark.every_database
def test_all_rows_are_looked_at_before_anything_is_begun(
    database_url: str, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, damaged = tmp_path / "errata.tar", tmp_path / "damaged.tar"
    with closing(Store(f"sqlite:///{tmp_path}/source.db")) as source:
        fill(source, blobs, tmp_path / "made")
        back_up(source.database, blobs, file)
        last = list(schema.metadata.tables)[-1]
        secret = source.secrets.get("tokens")
    damaged.write_bytes(file.read_bytes().replace(b'"name": "tokens"', b'"name": "tokenz"'))
    new = Blobs(str(tmp_path / "new"), cache=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr("align.backup.migrate", lambda *_, **__: pytest.fail("it has begun"))
        with pytest.raises(StateError, match=f"the rows of {last} are damaged"):
            restore(database_url, new, damaged)
    assert not (tmp_path / "new").exists()
    restore(database_url, new, file)
    with closing(Store(database_url)) as restored:
        assert restored.secrets.get("tokens") == secret


@pytest.mark.parametrize("kind", ["adapters", "reports", "images"])
def test_what_is_damaged_in_the_store_is_said_and_makes_no_backup(
    store: Store, blobs: Blobs, tmp_path: Path, kind: str
) -> None:
    fill(store, blobs, tmp_path / "made")
    found = sorted((tmp_path / "blobs" / kind).rglob("*"))
    damaged = next(path for path in found if path.is_file() and path.name != "COMPLETE")
    data = damaged.read_bytes()
    damaged.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(StateError, match="is damaged in the store; restore it from a backup"):
        back_up(store.database, blobs, tmp_path / "errata.tar")
    assert not (tmp_path / "errata.tar").exists()


def test_an_image_that_was_erased_meanwhile_is_counted_and_left_out(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    blobs.remove_image(fill(store, blobs, tmp_path / "made"))
    assert back_up(store.database, blobs, tmp_path / "errata.tar").missing == 1
