"""Hard to kill? `--help` says how it is found out.

Under mixed load (chat, streams, corrections, promotions, runs) one server is struck at random moments: its processes
are killed with SIGKILL, an engine stands still, its disk is filled or frozen, its database is stopped, clients stall,
its clock is stepped. After each blow the service has to come back by itself, with no acknowledged correction lost and
none doubled, one rollout on all replicas, every answer token by token that of one version, and no process without
parents. Recovery is timed from the end of the blow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

from rich.console import Console

from align.durable import write_whole
from serve.launch import end_by_exception_on_sigterm

from . import clock, disk
from .blows import BLOWS, CLOCK, DATABASE, DISK
from .report import Report, from_json, stretch
from .rounds import Round, rounds
from .subject import subject


def main() -> None:
    options = _parser().parse_args()
    end_by_exception_on_sigterm()
    clock.hold("benchmarks.chaos")
    with clock.let_go():
        _strike(options)


def _strike(options: argparse.Namespace) -> None:
    has_postgresql = options.database == "postgresql"
    lacking = _lacking(has_postgresql)
    kinds = [kind for kind in options.kinds or BLOWS if kind not in lacking]
    console, report = Console(), _report(options.json, options.resume)
    first, now = report.next_number, stretch(options.seed, options.database)
    report.stretches.append(now)
    for kind in (kind for kind in options.kinds or BLOWS if kind in lacking):
        console.print(f"{kind} is not struck: that needs {lacking[kind]}")

    def on_round(done: Round) -> None:
        now.rounds.append(done)
        console.print(report.line(done))
        if options.json:
            _write(report, options.json)

    if not kinds:
        raise SystemExit("nothing to strike")
    with subject(options.seed, has_postgresql=has_postgresql) as struck:
        until = time.monotonic() + 60 * options.minutes
        numbers = range(first, 20 if options.quick else options.rounds)
        asyncio.run(rounds(struck, kinds, numbers, until, options.seed, on_round))
    console.print(report.table())
    if report.violations:
        raise SystemExit(f"{len(report.violations)} violations")


def _lacking(has_postgresql: bool) -> dict[str, str]:
    """What is missing, by each kind that cannot be struck here."""
    needs = {
        "root, and a loop device": (DISK, disk.can_be_made()),
        "--database postgresql": (DATABASE, has_postgresql),
        "Linux, and a C compiler as `cc`": (CLOCK, clock.is_held()),
    }
    return {kind: need for need, (kinds, is_there) in needs.items() if not is_there for kind in kinds}


def _report(path: Path | None, is_resumed: bool) -> Report:
    return from_json(json.loads(path.read_text())) if is_resumed and path and path.exists() else Report([])


def _write(report: Report, path: Path) -> None:
    write_whole(path, (json.dumps(report.to_json(), indent=2) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="with those that are resumed")
    parser.add_argument("--minutes", type=float, default=600.0, help="no round begins later")
    parser.add_argument("--quick", action="store_true", help="20 rounds")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=list(BLOWS),
        help="all by default; those of the disk need root, that of the database PostgreSQL, that of the clock `cc`",
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of who is struck")
    parser.add_argument("--json", type=Path, help="write the figures to this file after each round")
    parser.add_argument(
        "--resume", action="store_true", help="go on after the rounds in the file of --json, and keep them"
    )
    return parser


if __name__ == "__main__":
    main()
