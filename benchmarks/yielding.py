"""What a run does to answers on the same machine, with and without making way: `python -m benchmarks.yielding`.

People chat without a pause with the embedded model on a server of its own: for a while alone, and while a run trains
and is judged. The 95th percentile of the time between two pieces of an answer is compared within one server's life, so
that a machine that is slower in one half does not count against either.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from errata import Errata
from rich.console import Console
from rich.table import Table

from serve.demo.people import Annotators, Tally, client
from serve.demo.server import free_port, server
from serve.drill.load import Load, Seen
from serve.drill.questions import questions
from serve.launch import end_by_exception_on_sigterm
from serve.settings import AlignmentSettings, Settings, YieldSettings

RESULTS = Path(__file__).parent / "results" / "yielding.json"


@dataclass(frozen=True)
class Outcome:
    """Of one server. Times are in seconds; gaps are 95th percentiles."""

    max_gap_ratio: float | None
    status: str
    run_s: float
    steady_gap_s: float
    gap_s: float
    gap_ratio: float  # while the run lasted, over the time before and after it
    num_requests: int
    num_failed: int


def measure(max_gap_ratio: float | None, options: argparse.Namespace) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="errata-yielding-") as folder:
        alignment = AlignmentSettings(
            min_corrections=10**6, auto_promote=False, yielding=YieldSettings(max_gap_ratio=max_gap_ratio)
        )
        settings = Settings(state=Path(folder), port=free_port(), alignment=alignment)
        address = f"http://{settings.host}:{settings.port}"
        with server(settings):
            tally = Tally()
            Annotators(address, tally, options.corrections, seed=1).work(lambda: None)
            if tally.failures:
                raise SystemExit(f"the corrections could not be made: {tally.failures[0]}")
            return asyncio.run(_under_load(address, max_gap_ratio, options))


async def _under_load(address: str, max_gap_ratio: float | None, options: argparse.Namespace) -> Outcome:
    errata = client(address)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"{address}/v1", timeout=120.0, limits=limits) as http:
        load = Load(http, questions(24), "errata-scenes", 64, seed=0)
        streams = [asyncio.create_task(load.stream(number)) for number in range(options.streams)]
        try:
            await asyncio.sleep(3.0)
            marks = [time.monotonic()]
            await asyncio.sleep(options.steady)
            marks.append(time.monotonic())
            status = await asyncio.to_thread(_run, errata)
            marks.append(time.monotonic())
            await asyncio.sleep(options.steady)
            marks.append(time.monotonic())
        finally:
            load.stop()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*streams)
    began, run_began, run_ended, ended = marks
    steady = np.concatenate([_gaps(load.seen, began, run_began), _gaps(load.seen, run_ended, ended)])
    steady_gap_s, gap_s = (
        float(np.quantile(gaps, 0.95)) for gaps in (steady, _gaps(load.seen, run_began, run_ended))
    )
    failed = sum(one.failure is not None for one in load.seen)
    return Outcome(
        max_gap_ratio,
        status,
        run_ended - run_began,
        steady_gap_s,
        gap_s,
        gap_s / steady_gap_s,
        len(load.seen),
        failed,
    )


def _run(errata: Errata) -> str:
    run = errata.alignments.create()
    return str(errata.alignments.wait(run.id, timeout=3600).status)


def _gaps(seen: list[Seen], began: float, ended: float) -> np.ndarray[Any, Any]:
    """Between two pieces of one answer, those that ended in that time."""
    pairs = (pair for one in seen for pair in pairwise(one.arrivals))
    return np.array([after - before for before, after in pairs if began <= after < ended])


def main() -> None:
    end_by_exception_on_sigterm()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.yielding", description=__doc__)
    parser.add_argument("--corrections", type=int, default=200, help="that the run learns from")
    parser.add_argument("--streams", type=int, default=8, help="people who chat without a pause")
    parser.add_argument("--steady", type=float, default=20.0, help="seconds before and after the run")
    parser.add_argument("--rounds", type=int, default=2, help="each without and with making way")
    parser.add_argument("--quick", action="store_true", help="60 corrections, 10 s, one round: some minutes")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file for the figures")
    options = parser.parse_args()
    if options.quick:
        options.corrections, options.steady, options.rounds = 60, 10.0, 1
    outcomes = []
    for _ in range(options.rounds):
        for max_gap_ratio in (None, YieldSettings().max_gap_ratio):
            outcomes.append(measure(max_gap_ratio, options))
            Console(stderr=True).print(outcomes[-1])
    table = Table(
        "making way above", "the run", "its seconds", "p95 gap, steady", "while it runs", "ratio", "failed"
    )
    for one in outcomes:
        table.add_row(
            "never" if one.max_gap_ratio is None else f"{one.max_gap_ratio:g}",
            one.status,
            f"{one.run_s:.0f}",
            f"{1000 * one.steady_gap_s:.0f} ms",
            f"{1000 * one.gap_s:.0f} ms",
            f"{one.gap_ratio:.2f}",
            f"{one.num_failed} of {one.num_requests}",
        )
    Console().print(table)
    figures = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "date": time.strftime("%Y-%m-%d"),
        "corrections": options.corrections,
        "streams": options.streams,
        "outcomes": [asdict(one) for one in outcomes],
    }
    options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
