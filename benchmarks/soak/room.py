"""What a server's answers take of the disk: database, pictures, logs. Counts so that growth can be told per answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from align.state import Store, schema

from ..scale.sizes import sizes


@dataclass(frozen=True)
class Room:
    answers: int
    corrections: int
    pictures: int
    database: int
    """Bytes of all its pages, those that are still in the log included."""
    log: int
    """Bytes of SQLite's write-ahead log, which is emptied again and again."""
    picture_bytes: int
    written_log: int
    """Bytes of Ray's and the server's own log files, which hold a line for each request."""


def room(store: Store, state: Path, logs: Path) -> Room:
    (database,) = sizes(store)
    pictures = list(_sizes(state / "blobs" / "images"))
    return Room(
        answers=_count(store, "responses"),
        corrections=_count(store, "corrections"),
        pictures=len(pictures),
        database=database.bytes,
        log=sum(_sizes(state, "*.db-wal")),
        picture_bytes=sum(pictures),
        written_log=sum(_sizes(logs)) + sum(_sizes(state, "server.log")),
    )


def num_tokens(store: Store, since: float) -> int:
    """Of all answers that were put on record since then, in seconds since the epoch."""
    table = schema.responses.c
    with store.database.read() as connection:
        return sum(
            len(ids) for ids in connection.scalars(select(table.token_ids).where(table.created >= since))
        )


def _count(store: Store, table: str) -> int:
    with store.database.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(schema.metadata.tables[table])) or 0)


def _sizes(folder: Path, names: str = "**/*") -> Iterator[int]:
    for path in folder.glob(names):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                yield path.stat().st_size
