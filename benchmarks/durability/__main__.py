"""What a 2xx is worth, and what it costs: `--help` says how.

Kills a server with SIGKILL right after it has answered, and while it answers, again and again on the same state, and
counts what is lost or stored twice. Then measures how many records a second the store takes, each in a transaction of
its own and as it is, in turn. The engine is one that needs no model; API, store and blobs are the real ones.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .kills import Killer, Losses
from .throughput import Throughput, syncs_per_s, throughput


def main() -> None:
    options = _parser().parse_args()
    num_kills, num_records = (20, 500) if options.quick else (options.kills, options.records)
    console = Console()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        losses = _kill(Path(name) / "killed", num_kills, console) if num_kills else Losses()
        syncs = syncs_per_s(Path(name))
        figures = throughput(
            options.database or f"sqlite:///{name}/errata.db", num_records, options.threads, num_repeats=3
        )
    console.print(_losses_table(losses), _throughput_table(figures))
    console.print(
        f"{options.threads} threads; the disk alone: {syncs:.0f} forced writes a second, one by one"
    )
    if options.json:
        report = {
            **asdict(losses),
            "database": (options.database or "sqlite").partition(":")[0],
            "throughput": [asdict(figure) for figure in figures],
            "threads": options.threads,
            "disk_syncs_per_s": round(syncs),
            "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "date": datetime.now(UTC).date().isoformat(),
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if losses.answers_lost or losses.corrections_lost or losses.doubled:
        raise SystemExit("something was lost or doubled")


def _kill(state: Path, num_kills: int, console: Console) -> Losses:
    rounds = iter(track(range(num_kills), "killing", console=console, transient=True))
    next(rounds)
    return Killer(state).run(num_kills, on_kill=lambda _: next(rounds, None))


def _losses_table(losses: Losses) -> Table:
    table = Table("after kill -9", "")
    for name, number in asdict(losses).items():
        table.add_row(name.replace("_", " "), f"{number:,}")
    return table


def _throughput_table(figures: list[Throughput]) -> Table:
    table = Table("records a second", "each alone", "as they are written", "ratio")
    for figure in figures:
        table.add_row(
            figure.record, f"{figure.alone_per_s:,}", f"{figure.together_per_s:,}", f"{figure.ratio}"
        )
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durability", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--records", type=int, default=4000, help="of each kind, for each way, three times")
    parser.add_argument("--threads", type=int, default=40, help="that write; 40 is what the API has")
    parser.add_argument(
        "--database", help="URL of an empty one whose records a second are measured; else SQLite's"
    )
    parser.add_argument("--quick", action="store_true", help="20 kills and 500 records")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


if __name__ == "__main__":
    main()
