"""Does anything grow? `--help` says how it is found out.

One server with two replicas answers the same load for an hour: each of four people asks about a picture once a second,
one in eight about a new one, somebody corrects, and another adapter is promoted each minute. Twice a minute its
processes are looked at (memory, open files, threads, by role) and what it writes (database, pictures, logs, by
answer); each minute tells how long people waited. Minutes 5 to 15 are compared with the last ten, each series by a
bound of its own, and the slope over all minutes after the fifth is told.

Ends with status 1 where a request failed, or where an hour's series was not flat. SIGTERM and Ctrl+C end the server,
too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from rich.console import Console
from transformers.utils import logging

from align.durable import write_whole
from serve.launch import end_by_exception_on_sigterm

from .course import Plan, Record, own_subject, soak
from .report import Report

ENOUGH_MINUTES = 30.0
"""In less, the warm-up is not over."""


def main() -> None:
    options = _parser().parse_args()
    plan = (
        Plan(3.0, 10.0, options.seed) if options.quick else Plan(options.minutes, options.every, options.seed)
    )
    console = Console(width=120)
    logging.disable_progress_bar()
    end_by_exception_on_sigterm()

    def on_look(record: Record) -> None:
        report = Report(plan, record)
        console.print(report.line(), highlight=False)
        _write(options.json, report)

    with own_subject(plan.seed) as (subject, value):
        report = Report(plan, asyncio.run(soak(plan, subject, value, on_look)))
    _write(options.json, report)
    console.print(report.table())
    for failure in report.failures[:5]:
        console.print(failure, markup=False, style="red")
    if report.num_failed:
        raise SystemExit(f"{report.num_failed} requests failed")
    if report.not_flat and plan.minutes < ENOUGH_MINUTES:
        console.print("So short a run is all warm-up: it shows what leaks fast, and no more.")
    elif report.not_flat:
        raise SystemExit(f"not flat: {'; '.join(report.not_flat)}")


def _write(path: Path | None, report: Report) -> None:
    if path is not None:
        write_whole(path, (json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two promotions")
    parser.add_argument(
        "--quick", action="store_true", help="three minutes with a promotion each ten seconds"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the adapters and the questions")
    parser.add_argument("--json", type=Path, help="write the figures to this file after each look")
    return parser


if __name__ == "__main__":
    main()
