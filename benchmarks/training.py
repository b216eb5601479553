"""How fast corrections are learned from, and in how much memory, beside TRL's DPOTrainer: `--help` says how.

Every trainer runs in a process of its own with the same model, pairs, LoRA, batches and number of threads, one after
the other, round after round: a ratio is that of two runs of one round. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from align.run_folder import RunFolder

from .shapes import SHAPES, prepare
from .trainers import TRL, TRL_COMPACT, VARIANTS, prepared

COMPARED = ("errata", TRL, TRL_COMPACT)
NAMES = (*COMPARED, *(name for name in VARIANTS if name != "errata"))
SIZES = {"embedded": 96, "llava": 16}
"""Pairs of each shape; each is met three times, as training's default has it."""
NUM_EPOCHS = 3


@dataclass(frozen=True)
class Measured:
    shape: str
    trainer: str
    round: int
    pairs_per_s: float
    peak_bytes: int  # beyond what the process took before it loaded a model


def main() -> None:
    options = _parser().parse_args()
    if options.only:
        print(json.dumps(asdict(measured(Path(options.folder), *options.only, options.threads))))
        return
    if any(find_spec(package) is None for package in ("trl", "datasets")):
        sys.exit("TRL is missing: pip install -e '.[peers]'")
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    results = [
        result
        for shape in SHAPES
        for result in rounds(shape, 1 if options.quick else options.rounds, options.quick, options.threads)
    ]
    report = summary(results)
    for shape in SHAPES:
        Console().print(_table(shape, report["trainers"][shape]))
    Console().print({name: value for name, value in report.items() if "ratio" in name})
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def rounds(shape: str, num_rounds: int, is_quick: bool, num_threads: int) -> Iterator[Measured]:
    """Every trainer in the first round, those that are compared in all."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        num_pairs = SIZES[shape] // 4 if is_quick else SIZES[shape]
        model, examples = prepare(shape, num_pairs, Path(folder) / "model")
        RunFolder(Path(folder)).write_examples(examples)
        (Path(folder) / "model.txt").write_text(model)
        turns = [(0, name) for name in NAMES] + list(product(range(1, num_rounds), COMPARED))
        for number, name in turns:
            command = [sys.executable, "-m", "benchmarks.training", "--folder", folder]
            command += ["--threads", str(num_threads), "--only", shape, name, str(number)]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            result = Measured(**json.loads(printed.splitlines()[-1]))
            console.print(result)
            yield result


def measured(folder: Path, shape: str, name: str, number: str, num_threads: int) -> Measured:
    """In this process, which must be fresh: the peak is that of its whole life."""
    torch.set_num_threads(num_threads)
    logging.disable_progress_bar()
    examples = RunFolder(folder).read_examples()
    if name in (TRL, TRL_COMPACT):
        import_module("trl.trainer.dpo_trainer")  # what its code takes is not counted, as ours is not
    before = psutil.Process().memory_info().rss
    work = prepared(name, (folder / "model.txt").read_text(), examples, NUM_EPOCHS)
    started = time.monotonic()
    work()
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(shape, name, int(number), NUM_EPOCHS * len(examples) / seconds, peak - before)


def summary(results: Sequence[Measured]) -> dict[str, Any]:
    """`ratio`: pairs/s over TRL's, of the shape where it is worse; `peak_memory_ratio`: peak over TRL's, of the LLaVA
    shape. Both are medians over rounds. Those against TRL with its output layer as on a GPU stand beside them."""
    trainers = {shape: {name: _against_trl(shape, name, results) for name in NAMES} for shape in SHAPES}
    ours = {shape: trainers[shape]["errata"] for shape in SHAPES}
    return {
        "ratio": min(one["speed"][TRL]["median"] for one in ours.values()),
        "peak_memory_ratio": ours["llava"]["memory"][TRL]["median"],
        "ratio_as_on_gpu": min(one["speed"][TRL_COMPACT]["median"] for one in ours.values()),
        "peak_memory_ratio_as_on_gpu": ours["llava"]["memory"][TRL_COMPACT]["median"],
        "trainers": trainers,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "date": date.today().isoformat(),
        "rounds": [asdict(result) for result in results],
    }


def _against_trl(shape: str, name: str, results: Sequence[Measured]) -> dict[str, Any]:
    of_shape = [result for result in results if result.shape == shape]
    own = [result for result in of_shape if result.trainer == name]
    peers = {
        peer: {result.round: result for result in of_shape if result.trainer == peer}
        for peer in (TRL, TRL_COMPACT)
    }
    return {
        "pairs_per_s": round(median(one.pairs_per_s for one in own), 3),
        "peak_mb": round(median(one.peak_bytes for one in own) / 1e6),
        "speed": {
            peer: _spread([one.pairs_per_s / runs[one.round].pairs_per_s for one in own])
            for peer, runs in peers.items()
        },
        "memory": {
            peer: _spread([one.peak_bytes / runs[one.round].peak_bytes for one in own])
            for peer, runs in peers.items()
        },
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(values), 3), "low": round(min(values), 3), "high": round(max(values), 3)}


def _table(shape: str, trainers: dict[str, Any]) -> Table:
    ratio = "{median:.2f} ({low:.2f}, {high:.2f})".format
    table = Table("trainer", "pairs/s", "peak MB", title=f"{shape}: ratios are medians (low, high)")
    for peer in (TRL, TRL_COMPACT):
        table.add_column(f"pairs/s over {peer}")
        table.add_column(f"peak over {peer}")
    for name, one in trainers.items():
        ratios = [ratio(**one[kind][peer]) for peer in (TRL, TRL_COMPACT) for kind in ("speed", "memory")]
        table.add_row(name, f"{one['pairs_per_s']:.2f}", str(one["peak_mb"]), *ratios)
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often those compared run")
    parser.add_argument("--threads", type=int, default=1, help="compute threads of each")
    parser.add_argument("--quick", action="store_true", help="one round of a quarter of the pairs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--only", nargs=3, help=argparse.SUPPRESS
    )  # shape, trainer, round: a process of its own
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
