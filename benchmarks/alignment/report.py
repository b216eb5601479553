"""The figures as JSON, as a table and as a plot of what grows with the number of corrections."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from rich.table import Table

from .figures import Figures
from .recipes import Recipe

SHOWN_KINDS = ("object", "colour", "position", "number", "total", "repeat")
Rows = dict[str, dict[int, Figures]]
"""Figures by recipe name and number of corrections."""


def to_json(rows: Rows, base: Figures, recipes: Sequence[Recipe], asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": "python -m benchmarks.alignment",
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "date": datetime.date.today().isoformat(),
        **asked,
        "base": base,
        **{name: {str(num): figures for num, figures in row.items()} for name, row in rows.items()},
        "recipes": {
            recipe.name: {"title": recipe.title, "learns_from": recipe.learns_from}
            | ({} if recipe.config is None else recipe.config.model_dump(mode="json", include=_TAUGHT))
            for recipe in recipes
        },
    }


_TAUGHT = {"objective", "lora", "learning_rate", "num_epochs", "batch_size", "warmup_ratio", "max_grad_norm"}


def tables(rows: Rows, base: Figures, recipes: Sequence[Recipe]) -> tuple[Table, Table]:
    """The answers as wholes, and wrong claims per 100 answers by kind."""
    wholes = ("hallucinated %", "of base %", "coverage %", "of base %", "words", "unreadable %")
    return (
        _table((*wholes, "over-generalised", "yes/no %"), _of_answers, rows, base, recipes),
        _table([f"wrong {kind} /100" for kind in SHOWN_KINDS], _by_kind, rows, base, recipes),
    )


def _table(
    headings: Sequence[str],
    shown: Callable[[Figures], list[str]],
    rows: Rows,
    base: Figures,
    recipes: Sequence[Recipe],
) -> Table:
    table = Table("recipe", "corrections", "seeds", *headings)
    table.add_row("base", "", "", *shown(base))
    for recipe in recipes:
        table.add_section()
        for num, figures in rows.get(recipe.name, {}).items():
            table.add_row(recipe.title, f"{num:,}", str(figures["num_seeds"]), *shown(figures))
    return table


def _of_answers(of: Figures) -> list[str]:
    return [
        _estimate(of, "hallucinated"),
        _estimate(of, "hallucinated_of_base", digits=0),
        _estimate(of, "coverage"),
        _estimate(of, "coverage_of_base"),
        f"{of['words']:.1f}",
        f"{of['unreadable'] * 100:.1f}",
        _estimate(of, "over_generalisation", 1),
        _estimate(of, "yes_no_accuracy"),
    ]


def _by_kind(of: Figures) -> list[str]:
    return [_estimate(of["segments"], kind, 1) for kind in SHOWN_KINDS]


def _estimate(of: Figures, name: str, scale: float = 100, digits: int = 1) -> str:
    if name not in of:
        return ""
    low, high = of[f"{name}_interval"]
    return f"{of[name] * scale:.{digits}f} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def plot(rows: Rows, base: Figures, recipes: Sequence[Recipe], path: Path) -> None:
    """Hallucinated answers and coverage against the number of corrections, with the intervals."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 6), layout="constrained")
    colours = plt.get_cmap("tab20")
    for panel, name, label in (
        (panels[0], "hallucinated", "answers with a wrong claim, %"),
        (panels[1], "coverage", "objects of the scene that are named, %"),
    ):
        panel.axhline(100 * base[name], color="grey", linestyle="--", label="base")
        for number, recipe in enumerate(recipe for recipe in recipes if rows.get(recipe.name)):
            row = rows[recipe.name]
            values = [100 * row[num][name] for num in row]
            bounds = [[100 * bound for bound in row[num][f"{name}_interval"]] for num in row]
            below = [max(0.0, value - low) for value, (low, _) in zip(values, bounds, strict=True)]
            above = [max(0.0, high - value) for value, (_, high) in zip(values, bounds, strict=True)]
            places = [num * 1.02**number for num in row]  # a little apart, so that intervals can be told
            width = 2.5 if recipe.name == "default" else 1.2
            panel.errorbar(
                places,
                values,
                (below, above),
                label=recipe.title,
                marker="o",
                color=colours(number),
                linewidth=width,
                capsize=2,
            )
        panel.set(xscale="log", xlabel="corrections", ylabel=label)
        panel.set_xticks(
            nums := sorted({num for row in rows.values() for num in row}), [f"{num:,}" for num in nums]
        )
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_yscale("log")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else "unknown processor"
