"""The whole state in one file, taken while a server runs, and put back into an empty one, whatever keeps it.

Rows are those of one moment, and a few at a time are in memory. Images, adapters and reports never change, so it does
not matter that they are copied after it. The file ends with its contents' list: one that was cut off has none, and is
refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, String, column, func, insert, select, table, text
from sqlalchemy.exc import DatabaseError

from .durable import appears_whole
from .errors import NotFound, StateError
from .gate.report import report_folder
from .state import Blobs, schema
from .state.database import Database, open_engine
from .state.migrations import MIGRATIONS, migrate, schema_version

LIST = "backup.json"
PASSING = ("replicas", "claims", "leases")
"""Tables of what is true for seconds."""
ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Backup:
    schema: int
    created: float  # seconds since the epoch
    rows: dict[str, int]  # by table
    sha256: dict[str, str]  # of each table's rows
    images: int
    adapters: int
    missing: int  # images and adapters that were removed meanwhile, or before


def back_up(database: Database, blobs: Blobs, file: Path) -> Backup:
    """Raises `StateError` where a blob is damaged. The file is whole when this returns, and nobody else may read it."""
    rows, sha256, missing = {}, {}, 0
    with appears_whole(file) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with tarfile.open(temporary, "w") as tar:
            with database.read() as connection:
                for name in _tables():
                    spooled = Path(folder) / name
                    rows[name], sha256[name] = _spool(connection, name, spooled)
                images, adapters = _named_blobs(connection)
                reports = _reports(connection)
            for name in rows:
                tar.add(Path(folder) / name, f"tables/{name}.jsonl")
            for digest in images:
                try:
                    _add(tar, f"images/{digest}", blobs.get_image(digest))
                except NotFound:
                    missing += 1
            for blob in adapters:
                try:
                    _add_folder(tar, blobs, blob, Path(folder))
                except (NotFound, FileNotFoundError):
                    missing += 1
            for blob in reports:
                with suppress(NotFound, FileNotFoundError):  # not every judged run has one
                    _add_folder(tar, blobs, blob, Path(folder))
            made = Backup(len(MIGRATIONS), time.time(), rows, sha256, len(images), len(adapters), missing)
            _add(tar, LIST, json.dumps(asdict(made), indent=2).encode())
    return made


def restore(url: str, blobs: Blobs, file: Path) -> Backup:
    """Into a database without rows; blobs that are there already stay. All rows come at once, at the end.

    Raises `StateError` where the file is no whole backup, a newer Errata's, or where there is something already.
    """
    with _opened(file) as tar:
        listed = _listed(tar, file)
        _check_empty(url, listed)
        # before a transaction is open: PostgreSQL ends one that stands still as long as this may take
        for name in listed.rows:
            _check_rows(tar, name, listed.sha256[name])
        with tempfile.TemporaryDirectory() as folder:
            _restore_blobs(tar, blobs, Path(folder))
        engine = open_engine(url)
        try:
            with engine.begin() as connection:
                migrate(connection, up_to=listed.schema)
                for name in listed.rows:
                    _insert(connection, name, tar)
                migrate(connection)
        finally:
            engine.dispose()
    return listed


def _tables() -> list[str]:
    return [name for name in schema.metadata.tables if name not in PASSING]


def _spool(connection: Connection, name: str, path: Path) -> tuple[int, str]:
    """How many rows, and the SHA-256 of their lines."""
    number, digest = 0, hashlib.sha256()
    found = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(select(schema.metadata.tables[name]))
    with path.open("wb") as file:
        for row in found:
            line = json.dumps(dict(row._mapping)).encode() + b"\n"
            file.write(line)
            digest.update(line)
            number += 1
    return number, digest.hexdigest()


def _named_blobs(connection: Connection) -> tuple[list[str], list[str]]:
    digests = select(schema.response_images.c.sha256).distinct()
    folders = select(schema.adapters.c.blob).where(schema.adapters.c.status != "retired").distinct()
    images = sorted(connection.execute(digests).scalars())
    return images, sorted(connection.execute(folders).scalars())


def _reports(connection: Connection) -> list[str]:
    """The folders of what the gate found, of the runs that it judged."""
    runs = schema.runs.c
    ids = connection.execute(select(runs.id).where(runs.adapter.is_not(None)).order_by(runs.id)).scalars()
    return [report_folder(run_id) for run_id in ids]


def _add_folder(tar: tarfile.TarFile, blobs: Blobs, blob: str, folder: Path) -> None:
    """By way of a copy in `folder`, which is compared with what was published.

    Raises `NotFound`, `FileNotFoundError` where it is removed just now, and `StateError` where a file is damaged.
    """
    with tempfile.TemporaryDirectory(dir=folder) as copy:
        for path in sorted(blobs.copy_folder(blob, Path(copy)).iterdir()):
            _add(tar, f"blobs/{blob}/{path.name}", path.read_bytes())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(data), int(time.time())
    tar.addfile(member, io.BytesIO(data))


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        tar = tarfile.open(file, "r:")  # noqa: SIM115  # closed below
    except (OSError, tarfile.TarError) as error:
        raise StateError(f"{file} cannot be read as a backup: {error}") from error
    with tar:
        yield tar


def _listed(tar: tarfile.TarFile, file: Path) -> Backup:
    try:
        listed = Backup(**json.loads(_read(tar, LIST)))
    except (KeyError, ValueError, TypeError, tarfile.TarError) as error:
        raise StateError(f"{file} is no whole backup: it does not end with its list") from error
    if listed.schema > len(MIGRATIONS):
        raise StateError(
            f"{file} has schema {listed.schema}, this Errata knows up to {len(MIGRATIONS)}: restore it with the newer "
            "Errata that wrote it"
        )
    return listed


def _check_empty(url: str, listed: Backup) -> None:
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            version = schema_version(connection)
            if version not in (0, listed.schema):
                raise StateError(
                    f"the database has schema {version}; restore schema {listed.schema} into a new one"
                )
            for name in _tables() if version else ():
                if connection.execute(select(func.count()).select_from(text(name))).scalar_one():
                    raise StateError(f"the database is not empty: it has {name}; restore into a new one")
    except (OSError, DatabaseError) as error:
        raise StateError(f"cannot restore into this database: {error}") from error
    finally:
        engine.dispose()


def _restore_blobs(tar: tarfile.TarFile, blobs: Blobs, folder: Path) -> None:
    folders: dict[str, list[str]] = {}  # adapters and reports
    for member in tar.getnames():
        kind, _, name = member.partition("/")
        if kind == "images":
            if blobs.put_image(_read(tar, member)) != name:
                raise StateError(f"image {name} is damaged in the backup")
        elif kind == "blobs":
            folders.setdefault(name.rpartition("/")[0], []).append(member)
    for number, (blob, members) in enumerate(folders.items()):
        files = folder / str(number)
        files.mkdir()
        for member in members:
            (files / Path(member).name).write_bytes(_read(tar, member))
        blobs.put_folder(files, blob)


def _check_rows(tar: tarfile.TarFile, name: str, sha256: str) -> None:
    """Before the first of them is used. Raises `StateError`."""
    try:
        found = hashlib.sha256()
        for line in _lines(tar, name):
            found.update(line)
    except (KeyError, tarfile.TarError) as error:
        raise StateError(f"the rows of {name} cannot be read in the backup: {error}") from error
    if name not in _tables() or found.hexdigest() != sha256:
        raise StateError(f"the rows of {name} are damaged in the backup")


def _lines(tar: tarfile.TarFile, name: str) -> Iterator[bytes]:
    with _member(tar, f"tables/{name}.jsonl") as file:
        yield from file


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    with _member(tar, name) as file:
        return file.read()


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    """Raises `KeyError`."""
    found = tar.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found


def _insert(connection: Connection, name: str, tar: tarfile.TarFile) -> None:
    rows = map(json.loads, _lines(tar, name))
    while some := list(islice(rows, ROWS_AT_ONCE)):
        types = {one.name: one.type for one in schema.metadata.tables[name].columns}
        # as the table was when the backup was made, which may be earlier than today's
        columns = [column(key, types.get(key, String())) for key in some[0]]
        connection.execute(insert(table(name, *columns)), some)
