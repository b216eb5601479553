"""The outcome for people: a table and a plot."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from align.scenes.evaluate import Estimate

from .outcome import Outcome


def table(outcome: Outcome) -> Table:
    before, after = outcome.before, outcome.after
    title = f"{before.num_answers} held-out scenes, greedy, with 95 % intervals"
    result = Table("", "before", f"after ({outcome.adapter})", title=title)
    result.add_row("hallucinated answers", _percent(before.hallucinated), _percent(after.hallucinated))
    for kind in before.wrong:
        result.add_row(f"  wrong {kind}", _percent(before.wrong[kind]), _percent(after.wrong[kind]))
    result.add_row("coverage of the objects", _percent(before.coverage), _percent(after.coverage))
    result.add_row("words an answer", _number(before.words), _number(after.words))
    result.add_row("unreadable answers", _percent(before.unreadable), _percent(after.unreadable))
    return result


def _number(estimate: Estimate) -> str:
    return f"{estimate.value:.1f}  [{estimate.low:.1f}, {estimate.high:.1f}]"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%}  [{estimate.low:.1%}, {estimate.high:.1%}]"


def plot(outcome: Outcome, file: Path) -> None:
    """Bars with 95 % intervals, before beside after."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    before, after = outcome.before, outcome.after
    names = ["any", *before.wrong, "coverage"]
    pairs = [
        (before.hallucinated, after.hallucinated),
        *((before.wrong[kind], after.wrong[kind]) for kind in before.wrong),
        (before.coverage, after.coverage),
    ]
    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for offset, label, colour, side in (
        (-0.2, "before", "#9aa5b1", 0),
        (0.2, f"after, {outcome.adapter}", "#1f77b4", 1),
    ):
        estimates = [pair[side] for pair in pairs]
        heights = [100 * estimate.value for estimate in estimates]
        errors = [
            [100 * max(0.0, estimate.value - estimate.low) for estimate in estimates],
            [100 * max(0.0, estimate.high - estimate.value) for estimate in estimates],
        ]
        positions = [index + offset for index in range(len(names))]
        axes.bar(positions, heights, width=0.38, color=colour, label=label, yerr=errors, capsize=3)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("% of answers (coverage: % of objects)")
    axes.set_title(
        f"Hallucinations after {outcome.num_corrections} corrections, {before.num_answers} held-out scenes"
    )
    axes.legend()
    for side_name in ("top", "right"):
        axes.spines[side_name].set_visible(False)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
