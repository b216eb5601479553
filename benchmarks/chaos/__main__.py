"""Hard to kill? `--help` says how it is found out.

Under mixed load (chat, streams, corrections, promotions, runs) one server is struck at random moments: its processes
are killed with SIGKILL, its disk is filled or frozen, its database crashes, clients stall. After each blow the service
has to come back by itself, with no acknowledged correction lost and none doubled, one rollout on all replicas, every
answer token by token that of one version, and no process without parents. Recovery is timed from the end of the blow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

from rich.console import Console

from . import disk
from .blows import BLOWS, DATABASE, DISK
from .report import Report
from .rounds import Round, rounds
from .subject import subject


def main() -> None:
    options = _parser().parse_args()
    num_rounds = 20 if options.quick else options.rounds
    has_postgresql = options.database == "postgresql"
    cannot = (set() if disk.can_be_made() else DISK) | (set() if has_postgresql else DATABASE)
    kinds = [kind for kind in options.kinds or BLOWS if kind not in cannot]
    console, report = Console(), Report(options.seed, options.database)

    def on_round(done: Round) -> None:
        report.rounds.append(done)
        console.print(report.line(done))
        if options.json:
            options.json.write_text(json.dumps(report.to_json(), indent=2) + "\n")

    with subject(options.seed, has_postgresql=has_postgresql) as struck:
        until = time.monotonic() + 60 * options.minutes
        asyncio.run(rounds(struck, kinds, num_rounds, until, options.seed, on_round))
    console.print(report.table())
    if report.violations:
        raise SystemExit(f"{len(report.violations)} violations")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=600.0, help="no round begins later")
    parser.add_argument("--quick", action="store_true", help="20 rounds")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=list(BLOWS),
        help="all by default; those of the disk need root, that of the database PostgreSQL",
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of who is struck")
    parser.add_argument("--json", type=Path, help="write the figures to this file after each round")
    return parser


if __name__ == "__main__":
    main()
