"""How often the gate errs, on the embedded world: `--help` says how.

Trains the default adapter on simulated corrections and measures it once against the base. Then it asks for a decision
many times: on candidates without effect (for each image a coin says which adapter is called the candidate), where every
admission is an error of the first kind; and on the real candidate with fewer items, where every refusal is one of the
second.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from align.config import AlignmentConfig, TrainingConfig
from align.gate import Decision, ItemMeasurement, Measurements, Verdict, decide
from align.gate.measurement import measure
from align.gate.null import without_effect
from align.gate.report import without_nan
from align.scenes import MODEL_PATH
from align.split import split_examples
from align.training import train

from .scenes import FRESH, accepted_answers, simulated_corrections

CONFIG = AlignmentConfig()
SIZES = (20, 40, 80)


@dataclass(frozen=True)
class Shares:
    """Of so many decisions, the share of each."""

    num_decisions: int
    admitted: float
    held: float
    refused: float


@dataclass(frozen=True)
class Timings:
    training_s: float
    measuring_s: float


@dataclass(frozen=True)
class Result:
    num_corrections: int
    num_held_out: int
    num_general: int
    verdict: Verdict  # on the real candidate with all items
    without_effect: Shares  # `admitted` is the type I error
    by_held_out: dict[
        int, Shares
    ]  # the real candidate, judged on so many held-out corrections drawn at random
    training_s: float
    measuring_s: float
    deciding_s: float


def main() -> None:
    options = _parser().parse_args()
    if options.quick:
        options.corrections, options.general = 120, 40
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    result = run(options.model, options.corrections, options.general, options.decisions, options.seed)
    Console().print(_table(result))
    Console().print(
        f"without effect: {result.without_effect.admitted:.1%} of {options.decisions} candidates admitted; "
        f"measuring took {result.measuring_s:.0f} s, a decision {result.deciding_s:.2f} s",
        highlight=False,
    )
    if options.json:
        report = {"type_one_error": result.without_effect.admitted, **without_nan(asdict(result))}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def candidate(
    model: str, num_corrections: int, num_general: int, training: TrainingConfig, first_scene: int = 0
) -> tuple[Measurements, Timings]:
    """Trained on simulated corrections as a server trains, and measured beside the base.

    `first_scene` is the first that the corrections are about, counted from those that no pretraining saw.
    """
    corrections = [
        example for example, _ in simulated_corrections(model, num_corrections, FRESH + first_scene)
    ]
    split = split_examples(corrections, CONFIG.held_out_share, CONFIG.gate.min_items)
    general = accepted_answers(model, num_general)
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder) / "adapter"
        started = time.monotonic()
        train(model, split.train, training, adapter)
        trained = time.monotonic()
        found = measure(model, None, adapter, split.held_out, general, CONFIG)
    return found, Timings(round(trained - started, 1), round(time.monotonic() - trained, 1))


def run(model: str, num_corrections: int, num_general: int, num_decisions: int, seed: int) -> Result:
    training = CONFIG.training.model_copy(update={"seed": seed})
    found, timings = candidate(model, num_corrections, num_general, training)
    started = time.monotonic()
    verdict = decide(found, CONFIG.gate)
    deciding_s = round(time.monotonic() - started, 3)
    coin = random.Random(seed)
    return Result(
        num_corrections,
        len(found.held_out),
        len(found.general),
        verdict,
        _shares(without_effect(found, seed * num_decisions + number) for number in range(num_decisions)),
        {
            size: _shares(_fewer(found, size, coin) for _ in range(num_decisions))
            for size in SIZES
            if size < len(found.held_out)
        },
        timings.training_s,
        timings.measuring_s,
        deciding_s,
    )


def _shares(all_measurements: Iterable[Measurements]) -> Shares:
    decisions = Counter(decide(one, CONFIG.gate).decision for one in all_measurements)
    num = decisions.total()
    return Shares(num, *(decisions[name] / num for name in ("admitted", "held", "refused")))


def _fewer(found: Measurements, num_held_out: int, coin: random.Random) -> Measurements:
    def some(items: Sequence[ItemMeasurement]) -> tuple[ItemMeasurement, ...]:
        return tuple(coin.sample(items, num_held_out))

    return replace(found, held_out=some(found.held_out))


def _table(result: Result) -> Table:
    table = Table("candidate", "held-out corrections", *get_args(Decision))
    rows = [("without effect", result.num_held_out, result.without_effect)]
    rows += [("real", size, shares) for size, shares in result.by_held_out.items()]
    for name, size, shares in rows:
        cells = (f"{getattr(shares, decision):.1%}" for decision in get_args(Decision))
        table.add_row(name, str(size), *cells)
    table.add_row(
        "real",
        str(result.num_held_out),
        *("x" if result.verdict.decision == decision else "" for decision in get_args(Decision)),
    )
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--model", default=str(MODEL_PATH), help="folder of the model")
    parser.add_argument("--corrections", type=int, default=400)
    parser.add_argument("--general", type=int, default=CONFIG.max_general, help="uncorrected answers")
    parser.add_argument("--decisions", type=int, default=200, help="how often each kind is decided on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--quick", action="store_true", help="fewer corrections; as many decisions")
    return parser


if __name__ == "__main__":
    main()
