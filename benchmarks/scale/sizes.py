"""How much room a store's tables and their indexes take, and what each connection takes of the server's memory."""

from __future__ import annotations

import statistics
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psutil
from sqlalchemy import text

from align.state import Store

NUM_CONNECTIONS = 10
TABLES = ("responses", "response_images", "corrections", "runs")


@dataclass(frozen=True)
class Size:
    name: str
    bytes: int
    bytes_per_row: float


def sizes(store: Store) -> list[Size]:
    """Of each table without its indexes, and of each index; with SQLite of the whole file, by answer."""
    with store.database.read() as connection:
        num_rows = {
            table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in TABLES
        }
        if connection.dialect.name != "postgresql":
            query = text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
            total = connection.execute(query).scalar_one()
            return [Size("the whole file", total, round(total / max(1, num_rows["responses"]), 1))]
        found = connection.execute(
            text(
                "SELECT tablename, tablename, pg_table_size(tablename::regclass) FROM pg_tables "
                "WHERE schemaname = 'public' UNION ALL "
                "SELECT tablename, indexname, pg_relation_size(indexname::regclass) FROM pg_indexes "
                "WHERE schemaname = 'public'"
            )
        ).all()
    return [
        Size(name, size, round(size / max(1, num_rows[table]), 1))
        for table, name, size in sorted(found, key=lambda row: -row[2])
        if table in num_rows
    ]


def bytes_per_connection(store: Store, server: int) -> int:
    """Of memory that a server's process has for itself, after it has answered a poll; the median."""
    with ExitStack() as stack:
        connections = [stack.enter_context(store.database.engine.connect()) for _ in range(NUM_CONNECTIONS)]
        for connection in connections:
            connection.execute(text("SELECT * FROM rollouts ORDER BY generation DESC LIMIT 100"))
            connection.execute(text("SELECT version FROM adapters WHERE status <> 'admitted'"))
        own = []
        for child in psutil.Process(server).children():
            with suppress(psutil.NoSuchProcess):
                if "errata" in " ".join(child.cmdline()):
                    own.append(child.memory_full_info().uss)
    return int(statistics.median(own))
