"""What grows with users, corrections and replicas, and by how much: `--help` says how.

Lets many replicas follow one PostgreSQL. Then fills stores in an older schema with up to ten million answers, times the
migration to today's, and what is asked of a store again and again. The PostgreSQL is the benchmark's own and does not
wait for its disk; SQLite is filled as well, with fewer answers.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from align.state import Store
from align.state.migrations import MIGRATIONS
from serve.launch import end_by_exception_on_sigterm
from serve.rollout_settings import RolloutSettings
from tests.postgresql_server import postgresql_server

from .filling import OLDEST, add_history, fill
from .polling import Polling, poll
from .queries import Timing, time_queries
from .sizes import Size, bytes_per_connection, sizes

POLL_S = RolloutSettings().poll_s
QUICK = ((20, POLL_S), (1000, POLL_S))
WHOLE = (*((number, POLL_S) for number in (10, 50, 200, 1000)), (1000, 1.0), (1000, 5.0))


def main() -> None:
    options = _parser().parse_args()
    end_by_exception_on_sigterm()
    answers, few = ([2_000, 20_000], 5_000) if options.quick else (options.answers, options.sqlite_answers)
    levels, seconds = (QUICK, 3.0) if options.quick else (WHOLE, 6.0)
    console = Console()
    report: dict[str, Any] = {
        "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
        "polling": [],
        "sqlite": [],
        "postgresql": [],
    }
    with postgresql_server() as server:
        for replicas, poll_s in levels:
            console.log(f"{replicas} replicas poll every {poll_s} s")
            url = server.new_database()
            report["polling"].append(asdict(poll(url, replicas, poll_s, seconds, server.pid)))
            server.drop(url)
        console.print(_polling_table(report["polling"]))
        with tempfile.TemporaryDirectory() as name:
            _add(report, "sqlite", measure(f"sqlite:///{name}/errata.db", few, console.log), console)
        for number in answers:
            url = server.new_database()
            _add(report, "postgresql", measure(url, number, console.log, server.pid), console)
            if options.json:  # the last number takes most of the time, and may be broken off
                options.json.write_text(json.dumps(report, indent=2) + "\n")
            server.drop(url)


def _add(report: dict[str, Any], database: str, measured: dict[str, Any], console: Console) -> None:
    report[database].append(measured)
    console.print(_queries_table(database, measured), _sizes_table(measured))


def measure(
    url: str, num_answers: int, say: Callable[[str], object], server: int | None = None
) -> dict[str, Any]:
    """Fill -> migrate -> ask. `server`: PostgreSQL's first process."""
    say(f"filling {url.partition(':')[0]} with {num_answers:,} answers")
    started = time.monotonic()
    filled = fill(url, num_answers, time.time())
    fill_s = time.monotonic() - started
    say(f"filled in {fill_s:.0f} s; migrating from schema {OLDEST} to {len(MIGRATIONS)}")
    started = time.monotonic()
    with closing(Store(url)) as store:
        migration_s = time.monotonic() - started
        say(f"migrated in {migration_s:.0f} s")
        add_history(store, filled)
        analyze(store)
        return {
            "answers": num_answers,
            "corrections": filled.num_corrections,
            "fill_s": round(fill_s, 1),
            "schemas": [OLDEST, len(MIGRATIONS)],
            "migration_s": round(migration_s, 1),
            "sizes": [asdict(size) for size in sizes(store)],
            "bytes_per_connection": bytes_per_connection(store, server) if server else None,
            "queries": [asdict(timing) for timing in time_queries(store, filled, say)],
        }


def analyze(store: Store) -> None:
    """What PostgreSQL does by itself a minute after so many rows came."""
    with store.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        statement = "VACUUM ANALYZE" if connection.dialect.name == "postgresql" else "ANALYZE"
        connection.exec_driver_sql(statement)


def _queries_table(database: str, measured: dict[str, Any]) -> Table:
    table = Table(f"{database}, {measured['answers']:,} answers", "who asks", "p50 ms", "p99 ms", "times")
    for timing in (Timing(**one) for one in measured["queries"]):
        table.add_row(
            timing.name, timing.who, f"{timing.p50_ms:,}", f"{timing.p99_ms:,}", str(timing.repeats)
        )
    return table


def _sizes_table(measured: dict[str, Any]) -> Table:
    table = Table("what", "MB", "bytes a row")
    for size in (Size(**one) for one in measured["sizes"]):
        table.add_row(size.name, f"{size.bytes / 1e6:,.1f}", f"{size.bytes_per_row:,}")
    return table


def _polling_table(measured: list[dict[str, Any]]) -> Table:
    table = Table(
        "replicas",
        "poll s",
        "polls/s wanted",
        "done",
        "p50 ms",
        "p99 ms",
        "database ms a poll",
        "its cores",
        "asking cores",
    )
    for one in (Polling(**level) for level in measured):
        table.add_row(*(f"{value:,}" if value is not None else "" for value in asdict(one).values()))
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument(
        "--answers",
        type=int,
        nargs="+",
        default=[1_000_000, 10_000_000],
        help="in PostgreSQL, one store after the other; a tenth has corrections",
    )
    parser.add_argument("--sqlite-answers", type=int, default=100_000, help="in SQLite")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="2,000 and 20,000 answers, 5,000 in SQLite, and two levels of polling",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


if __name__ == "__main__":
    main()
