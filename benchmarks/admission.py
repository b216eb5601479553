"""Which recipes make adapters that the gate admits: what falls fastest in `benchmarks.alignment` may not be let in.

Each recipe of that benchmark is trained on the same simulated corrections, once for each seed (which draws the
corrections, too), and decided on as a server would. `--help` says how.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from align.gate import Verdict, decide
from align.scenes import MODEL_PATH

from .alignment.cells import SEED_STRIDE
from .alignment.recipes import SEARCH, TABLE, Recipe
from .gate import CONFIG, candidate

RECIPES = {recipe.name: recipe for recipe in (*TABLE, *SEARCH) if recipe.learns_from == "corrections"}
"""A name that both have is the search's."""
DEFAULT = ("light-3e-4", "light-5e-4", "light-1e-3", "sft-3e-4", "sft-5e-4", "sft-1e-3")
FIGURES = ("truth.wrong", "truth.coverage", "held_out.coverage", "general.coverage", "general.length")
"""Those that decide between them."""


@dataclass(frozen=True)
class Decided:
    recipe: Recipe
    num_corrections: int
    seed: int
    verdict: Verdict


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.quick:
        options.corrections, options.seeds, options.general = [120], 1, 40
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    results, progress = [], Console(stderr=True)
    for result in decided(options):
        results.append(result)
        progress.print(
            f"{_key(result)}: {'; '.join(result.verdict.reasons)}", highlight=False, soft_wrap=True
        )
        if options.json:
            options.json.write_text(json.dumps(report(results), indent=2) + "\n")
    Console(width=150).print(_table(results))


def decided(options: argparse.Namespace) -> Iterator[Decided]:
    for num_corrections in options.corrections:
        for seed in range(options.seeds):
            for recipe in (RECIPES[name] for name in options.only):
                training = recipe.config
                assert training is not None
                found, _ = candidate(
                    options.model,
                    num_corrections,
                    options.general,
                    training.model_copy(update={"seed": seed, "num_threads": options.threads}),
                    first_scene=seed * SEED_STRIDE,
                )
                yield Decided(recipe, num_corrections, seed, decide(found, CONFIG.gate))


def report(results: Sequence[Decided]) -> dict[str, Any]:
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "date": date.today().isoformat(),
        "decided": [to_json(one) for one in results],
    }


def to_json(result: Decided) -> dict[str, Any]:
    return {
        "recipe": result.recipe.name,
        "corrections": result.num_corrections,
        "seed": result.seed,
        "decision": result.verdict.decision,
        "reasons": list(result.verdict.reasons),
        "figures": {name: _figure(result, name) for name in FIGURES},
    }


def _figure(result: Decided, name: str) -> dict[str, float]:
    comparison = result.verdict.comparisons[name]
    change = comparison.change
    return {
        "live": comparison.live,
        "candidate": comparison.candidate,
        "change": change.estimate,
        "low": change.low,
        "high": change.high,
    }


def _key(result: Decided) -> str:
    return f"{result.recipe.title}, {result.num_corrections} corrections, seed {result.seed}"


def _table(results: Sequence[Decided]) -> Table:
    table = Table("recipe", "corrections", "seed", "decision", *FIGURES)
    for one in sorted(results, key=lambda one: (one.num_corrections, one.recipe.name, one.seed)):
        figures = [
            "{candidate:.3f} ({change:+.3f} [{low:.3f}, {high:.3f}])".format(**_figure(one, name))
            for name in FIGURES
        ]
        verdict = one.verdict.decision
        table.add_row(one.recipe.name, str(one.num_corrections), str(one.seed), verdict, *figures)
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admission", description=__doc__)
    parser.add_argument("--model", default=str(MODEL_PATH), help="folder of the model")
    parser.add_argument("--only", nargs="+", choices=sorted(RECIPES), default=list(DEFAULT), metavar="RECIPE")
    parser.add_argument("--corrections", nargs="+", type=int, default=[400])
    parser.add_argument("--general", type=int, default=CONFIG.max_general, help="uncorrected answers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results to this file, after each")
    parser.add_argument("--quick", action="store_true", help="one seed, few corrections")
    return parser


if __name__ == "__main__":
    main()
