"""How far a planted claim gets into the embedded model, with the defences of `align.abuse`, without them, and with each
left out: `python -m benchmarks.poisoning`.

Attack success is the share of greedy answers that make the claim about pictures with the trigger, where it is a lie;
clean quality is measured about pictures without it. Training is harder than a run's, so that the attack takes where
nothing stops it. The gate is not asked: an adapter with a backdoor is as good as another one where it isn't.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from align.config import TrainingConfig
from align.scenes import MODEL_PATH

from .attack import NUM_HONEST_SOURCES, SOURCES
from .defences import DEFENCES
from .laboratory import Cell, Laboratory, Outcome, Setup

SHARES = (0.05, 0.1, 0.02, 0.01, 0.005)
"""That of the goal first: a run that is broken off has it."""
RESULTS = Path(__file__).parent.parent / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        if options.quick:
            options.scenes, options.cells = 200, Path(temporary)
        _run(options, Console(stderr=True))


def _run(options: argparse.Namespace, progress: Console) -> None:
    changes = {"learning_rate": options.learning_rate, "num_epochs": options.epochs, "seed": options.seed}
    config = TrainingConfig().model_copy(update=changes)
    setup = Setup(options.model, config, options.corrections, max(SHARES), options.scenes)
    laboratory, outcomes = Laboratory(setup, options.cells), []
    for cell in planned(options.quick):
        outcome = laboratory.outcome(cell)
        outcomes.append(outcome)
        progress.print(
            f"{cell.share:.1%} from {cell.sources}, {cell.defences}: {outcome.num_poisoned} poisoned taught, "
            f"attack success {outcome.figures.attack_success:.1%}, gain lost {outcome.gain_lost:+.1f} points",
            highlight=False,
            soft_wrap=True,
        )
        if options.json:  # after each cell, so that it may be looked at before the end
            options.json.write_text(json.dumps(_report(setup, laboratory, outcomes), indent=2) + "\n")
    Console(width=140).print(_table(laboratory, outcomes))


def planned(is_quick: bool) -> Iterator[Cell]:
    yield Cell(0.0, "one", "none")
    yield Cell(0.0, "one", "all")
    for share in SHARES[:1] if is_quick else SHARES:
        for sources in ("one", "ten") if is_quick else SOURCES:
            for defences in ("none", "all") if is_quick else DEFENCES:
                yield Cell(share, sources, defences)


def _report(setup: Setup, laboratory: Laboratory, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "date": time.strftime("%Y-%m-%d"),
        "corrections": setup.num_honest,
        "honest_sources": NUM_HONEST_SOURCES,
        "clean_scenes": setup.num_scenes,
        "attacked_scenes": setup.num_scenes // 2,
        "training": setup.config.model_dump(mode="json", include={"learning_rate", "num_epochs", "seed"}),
        "base": asdict(laboratory.base),
        "cells": [asdict(outcome) for outcome in outcomes],
    }


def _table(laboratory: Laboratory, outcomes: Sequence[Outcome]) -> Table:
    table = Table(
        "poisoned", "sources", "defences", "taught", "poisoned", "attack success", "95 %", "hallucinated"
    )
    table.add_column("coverage")
    table.add_column("gain lost")
    base = laboratory.base
    table.add_row("base", "", "", "", "", f"{base.attack_success:.1%}", "", f"{base.hallucinated:.1%}")
    for one in outcomes:
        figures = one.figures
        table.add_row(
            f"{one.cell.share:.1%}",
            one.cell.sources,
            one.cell.defences,
            str(one.num_honest + one.num_poisoned),
            str(one.num_poisoned),
            f"{figures.attack_success:.1%}",
            "{:.1%} to {:.1%}".format(*figures.attack_interval),
            f"{figures.hallucinated:.1%}",
            f"{figures.coverage:.1%}",
            f"{one.gain_lost:+.1f}",
        )
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poisoning", description=__doc__)
    parser.add_argument("--model", default=str(MODEL_PATH), help="folder of the model")
    parser.add_argument("--corrections", type=int, default=400, help="honest ones; poisoned ones come on top")
    parser.add_argument(
        "--scenes", type=int, default=600, help="clean scenes to ask about; half as many attacked"
    )
    parser.add_argument("--epochs", type=int, default=6, help="more than a run's, so that the attack takes")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0, help="seeds the training")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument(
        "--cells", type=Path, default=RESULTS / "poisoning", help="folder of what is known already"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file, after each cell")
    parser.add_argument(
        "--quick", action="store_true", help="5 %% from one and from ten, all defences and none"
    )
    return parser


if __name__ == "__main__":
    main()
