"""How much less the embedded model hallucinates after so many corrections, by objective.

Each cell of the table (a recipe, a number of corrections, a seed) is trained on simulated corrections, asked about
scenes that no training saw, and kept in `--cells`: run the command again and it goes on with what is missing. The
recipes were chosen with `--search`, on the development split; the table is measured on the test split, which decided
nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from transformers.utils import logging

from align.scenes import MODEL_PATH
from align.scenes.world import Split

from .cells import Cell, Cells
from .figures import Figures, figures
from .recipes import BASE, SEARCH, TABLE, Recipe
from .report import Rows, plot, tables, to_json

RESULTS = Path(__file__).parent.parent / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        if options.quick:
            options.corrections, options.scenes, options.seeds = [16, 32], 48, 1
            options.cells = Path(temporary)
        _run(options, Console(stderr=True))


def _run(options: argparse.Namespace, console: Console) -> None:
    candidates = SEARCH if options.search else TABLE
    recipes = [recipe for recipe in candidates if not options.only or recipe.name in options.only]
    cells = Cells(options.model, options.cells, options.threads, max(options.corrections))
    if not options.show:
        for cell in _planned(recipes, options):
            _do(cells, cell, console)
    base, rows = gathered(cells, recipes, options)
    Console(width=200).print(*tables(rows, base, recipes))
    if options.json:
        asked = {"split": _split(options), "num_scenes": options.scenes}
        options.json.write_text(json.dumps(to_json(rows, base, recipes, asked), indent=2) + "\n")
    if options.plot:
        plot(rows, base, recipes, options.plot)


def _do(cells: Cells, cell: Cell, console: Console) -> None:
    if cells.known(cell) is not None:
        return
    counts = cells.outcome(cell).answers.counts
    share = (counts[:, :7].sum(1) > 0).mean()
    console.print(
        f"{cell.recipe.name}, {cell.num_corrections} corrections, seed {cell.seed}: {share:.2%}",
        highlight=False,
    )


def _planned(recipes: Sequence[Recipe], options: argparse.Namespace) -> Iterator[Cell]:
    """One seed after the other, so that a run that is broken off has all recipes with fewer seeds."""
    yield _cell(BASE, 0, 0, options)
    for seed in range(options.seeds):
        for recipe in recipes:
            for num_corrections in options.corrections:
                yield _cell(recipe, num_corrections, seed, options)


def gathered(cells: Cells, recipes: Sequence[Recipe], options: argparse.Namespace) -> tuple[Figures, Rows]:
    """The figures of all cells that are known. Raises SystemExit where there is no base to compare with."""
    base = cells.known(_cell(BASE, 0, 0, options))
    if base is None:
        raise SystemExit("nothing has been measured yet; run without --show first")
    rows: Rows = {}
    for recipe in recipes:
        for num_corrections in options.corrections:
            planned = [_cell(recipe, num_corrections, seed, options) for seed in range(options.seeds)]
            known = [outcome.answers for cell in planned if (outcome := cells.known(cell)) is not None]
            if known:
                rows.setdefault(recipe.name, {})[num_corrections] = figures(known, base.answers)
    return figures([base.answers]), rows


def _cell(recipe: Recipe, num_corrections: int, seed: int, options: argparse.Namespace) -> Cell:
    return Cell(recipe, num_corrections, seed, _split(options), options.scenes)


def _split(options: argparse.Namespace) -> Split:
    return "development" if options.search else "test"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__)
    parser.add_argument(
        "--search", action="store_true", help="candidates on the development split, to choose from"
    )
    names = sorted({recipe.name for recipe in (*TABLE, *SEARCH)})
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="RECIPE", help=f"some of {', '.join(names)}"
    )
    parser.add_argument("--corrections", nargs="+", type=int, default=[200, 400, 800, 1400])
    parser.add_argument("--seeds", type=int, default=3, help="each has its own corrections and first weights")
    parser.add_argument("--scenes", type=int, default=1024, help="scenes that are asked about")
    parser.add_argument("--show", action="store_true", help="train nothing: show the cells that are there")
    parser.add_argument(
        "--cells", type=Path, default=RESULTS / "alignment", help="folder of what is known already"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--plot", type=Path, help="draw them against the number of corrections into this file"
    )
    parser.add_argument("--model", default=str(MODEL_PATH), help="folder of the model")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument(
        "--quick", action="store_true", help="a look at few scenes: far too small to decide on"
    )
    return parser


if __name__ == "__main__":
    main()
