"""How fast answers stream over HTTP, beside other servers of the same model: `--help` says how.

Clients ask about pictures, each one question after the other, 64 greedy tokens an answer: Errata, its engine without
HTTP, `transformers serve`, and a plain FastAPI server around `generate`. Each system runs alone, one after the other,
round after round: a ratio is that of two systems in one round. Tokens are those that the server counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from align.scenes.answers import caption_prompts
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene

from .load import Question, Seen, drive
from .models import MODELS, prepare
from .systems import SYSTEMS, Running

NUM_TOKENS = 64
CLIENTS = (1, 8, 32)
IMAGES = ("distinct", "repeated")
NUM_QUESTIONS = {"embedded": {1: 6, 8: 32, 32: 96}, "llava-150m": {1: 2, 8: 8, 32: 32}}
MAX_REST_S = 60
"""Seconds after which a server is measured though its start is not over."""
OURS, ALONE, PEER = "errata", "errata, engine alone", "transformers serve"


@dataclass(frozen=True)
class Measured:
    model: str
    system: str
    images: str
    num_clients: int
    round: int
    cpu_cores: float  # that the server's processes kept busy
    seen: Seen


def main() -> None:
    options = _parser().parse_args()
    if options.quick:
        options.models, options.rounds, options.clients = ["embedded"], 1, [1, 32]
    results = []
    for result in rounds(options):
        results.append(result)
        report = summary(results)
        if options.json:  # after each, so that it may be looked at before the end
            options.json.write_text(json.dumps(report, indent=2) + "\n")
    for model in options.models:
        Console(width=150).print(_table(model, results))
    Console().print({name: value for name, value in report.items() if "_1" in name or "_32" in name})


def rounds(options: argparse.Namespace) -> Iterator[Measured]:
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        models = {name: prepare(name, Path(folder) / name) for name in options.models}
        for number in range(options.rounds):
            names = list(options.systems)[
                :: -1 if number % 2 else 1
            ]  # none is always the first on a warm machine
            for model, path in models.items():
                for name in names:
                    for result in asyncio.run(_measure(model, path, name, number, options)):
                        console.print(
                            f"round {number}, {model}, {name}, {result.images}, {result.num_clients} clients: "
                            f"{result.seen.tokens_per_s:.1f} tokens/s, {result.seen.num_failed} failed",
                            highlight=False,
                        )
                        yield result


async def _measure(
    model: str, path: Path, name: str, number: int, options: argparse.Namespace
) -> list[Measured]:
    async with SYSTEMS[name](path, NUM_TOKENS) as running:
        await drive(running.ask, questions(2, "distinct", -1), 2)  # the first answers are slower everywhere
        await rest(running.cpu_seconds)
        return [
            await _one(running, model, name, images, num_clients, number)
            for images in IMAGES
            for num_clients in options.clients
        ]


async def rest(cpu_seconds: Callable[[], float], interval_s: float = 1.0) -> None:
    """Until its processes do little: some go on with their start after the first answers."""
    for _ in range(MAX_REST_S):
        before = cpu_seconds()
        await asyncio.sleep(interval_s)
        if cpu_seconds() - before < 0.25 * interval_s:
            return


async def _one(
    running: Running, model: str, name: str, images: str, num_clients: int, number: int
) -> Measured:
    asked = questions(NUM_QUESTIONS[model][num_clients], images, num_clients)
    before, started = running.cpu_seconds(), asyncio.get_running_loop().time()
    seen = await drive(running.ask, asked, num_clients)
    seconds = asyncio.get_running_loop().time() - started
    return Measured(
        model, name, images, num_clients, number, round((running.cpu_seconds() - before) / seconds, 2), seen
    )


def questions(num: int, images: str, seed: int) -> list[Question]:
    """About pictures that no other call of this run asked about; `repeated` asks about four of them in turn."""
    first = 1_000 * (seed + 2) + (500 if images == "repeated" else 0)
    different = 4 if images == "repeated" else num
    pictures = [png_bytes(sample_scene("honest", "test", first + index)) for index in range(different)]
    return [Question(text, pictures[index % different]) for index, text in enumerate(caption_prompts(num))]


def summary(results: Sequence[Measured]) -> dict[str, Any]:
    """`ratio_1`, `ratio_32`: tokens/s over those of `transformers serve`; `http_share_32`: over the engine's own.

    Each is the median over rounds, where it is worst among models and kinds of images; all are under `ratios`.
    """
    ratios = {
        f"{model}, {images}, {num_clients}": {
            peer: spread
            for peer in (PEER, "FastAPI + generate", ALONE)
            if (spread := _ratio(results, model, images, num_clients, peer))
        }
        for model in MODELS
        for images in IMAGES
        for num_clients in CLIENTS
    }
    return {
        "ratio_1": _worst(ratios, 1, PEER),
        "ratio_32": _worst(ratios, 32, PEER),
        "http_share_32": _worst(ratios, 32, ALONE),
        "ratios": {name: spreads for name, spreads in ratios.items() if spreads},
        "answers_equal": _answers_equal(results),
        "versions": {name: version(name) for name in ("torch", "transformers", "ray", "fastapi", "uvicorn")},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "date": date.today().isoformat(),
        "rounds": [
            {**asdict(result), "seen": {k: v for k, v in asdict(result.seen).items() if k != "texts"}}
            for result in results
        ],
    }


def _worst(ratios: dict[str, dict[str, dict[str, float]]], num_clients: int, peer: str) -> float | None:
    found = [
        spreads[peer]["median"]
        for name, spreads in ratios.items()
        if name.endswith(f", {num_clients}") and peer in spreads
    ]
    return min(found, default=None)


def _ratio(
    results: Sequence[Measured], model: str, images: str, num_clients: int, peer: str
) -> dict[str, float] | None:
    def rates(system: str) -> dict[int, float]:
        key = (model, system, images, num_clients)
        return {
            one.round: one.seen.tokens_per_s
            for one in results
            if (one.model, one.system, one.images, one.num_clients) == key
        }

    ours, theirs = rates(OURS), rates(peer)
    values = [ours[number] / theirs[number] for number in ours if number in theirs]
    if not values:
        return None
    return {"median": round(median(values), 3), "low": round(min(values), 3), "high": round(max(values), 3)}


def _answers_equal(results: Sequence[Measured]) -> dict[str, float]:
    """The share of answers that are `transformers serve`'s, word for word, by system."""
    same: dict[str, list[bool]] = {}
    references = {
        (one.model, one.images, one.num_clients, one.round): one.seen.texts
        for one in results
        if one.system == PEER
    }
    for one in results:
        reference = references.get((one.model, one.images, one.num_clients, one.round))
        if reference is not None:
            pairs = zip(one.seen.texts, reference, strict=True)
            same.setdefault(one.system, []).extend(a.strip() == b.strip() for a, b in pairs)
    return {system: round(sum(values) / len(values), 4) for system, values in same.items()}


def _table(model: str, results: Sequence[Measured]) -> Table:
    table = Table(title=f"{model}: medians over rounds; times are p50 / p99 in ms")
    for column in (
        "system",
        "images",
        "clients",
        "tokens/s",
        "requests/s",
        "first token",
        "gap",
        "CPU cores",
    ):
        table.add_column(column)
    keys = dict.fromkeys((one.system, one.images, one.num_clients) for one in results if one.model == model)
    for system, images, num_clients in keys:
        of_key = [
            one
            for one in results
            if (one.model, one.system, one.images, one.num_clients) == (model, system, images, num_clients)
        ]
        seen = [one.seen for one in of_key]
        table.add_row(
            system,
            images,
            str(num_clients),
            f"{median(one.tokens_per_s for one in seen):.1f}",
            f"{median(one.requests_per_s for one in seen):.2f}",
            _ms([one.first_token_s for one in seen]),
            _ms([one.between_s for one in seen]),
            f"{median(one.cpu_cores for one in of_key):.2f}",
        )
    return table


def _ms(pairs: Sequence[tuple[float, float]]) -> str:
    p50, p99 = (1e3 * median(values) for values in zip(*pairs, strict=True))
    return f"{p50:.1f} / {p99:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--clients", nargs="+", type=int, choices=CLIENTS, default=list(CLIENTS))
    parser.add_argument("--rounds", type=int, default=3, help="how often each system runs")
    parser.add_argument("--quick", action="store_true", help="one round of the embedded model")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


if __name__ == "__main__":
    main()
