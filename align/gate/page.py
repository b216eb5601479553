"""A decision as one page for people: what was decided and why, plots, and every criterion in a table.

One file without scripts, fonts or pictures from elsewhere: it can be read wherever it lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .criteria import Criterion
from .figures import FIGURES, Figure
from .plots import Row, forest, ordered_bars
from .style import STYLE
from .verdict import Finding, Verdict

HEADLINES = {"admitted": "Admitted", "refused": "Refused", "held": "Held for review"}


def page(run_id: str, manifest: Mapping[str, Any], verdict: Verdict, margin_gains: Sequence[float]) -> str:
    """As HTML. `margin_gains` are those of the held-out corrections, in nats per token."""
    headline = HEADLINES[verdict.decision]
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{headline}: {escape(run_id)}</title><style>{STYLE}</style></head><body>",
            f'<h1><span class="badge {verdict.decision}">{headline}</span> {escape(run_id)}</h1>',
            _list(verdict.reasons),
            _about(verdict, manifest),
            *_plots(verdict, margin_gains),
            _table(verdict),
            EXPLANATION,
            "</body></html>",
        )
    )


def _about(verdict: Verdict, manifest: Mapping[str, Any]) -> str:
    gate = manifest["config"]["gate"]
    lines = (
        f"Candidate against {manifest['live']}; base {manifest['base']}.",
        f"{verdict.num_held_out} held-out corrections and {verdict.num_general} uncorrected answers of the base; "
        f"{verdict.num_unfit} more could not be read by the model.",
        f"Intervals: {gate['confidence']:.0%}, paired, from {gate['num_resamples']} bootstrap resamples of whole "
        f"images, seed {gate['seed']}.",
    )
    return "<p>" + "<br>".join(escape(line) for line in lines) + "</p>"


def _plots(verdict: Verdict, margin_gains: Sequence[float]) -> Iterable[str]:
    if not verdict.findings:
        return
    panels: dict[str, list[Figure]] = {}
    for figure in FIGURES.values():
        panels.setdefault(_panel(figure), []).append(figure)
    for title, figures in panels.items():
        neutral = 1.0 if figures[0].form == "ratio" else 0.0
        if rows := [row for figure in figures for row in _rows(figure, verdict)]:
            yield forest(title, rows, neutral, figures[0].shown_number)
    title = "Gain in score margin, nats per token: one bar a held-out correction"
    yield ordered_bars(title, margin_gains, FIGURES["held_out.margin"].shown_number)


def _panel(figure: Figure) -> str:
    """Figures that can share an axis."""
    if figure.form == "ratio":
        return "Relative to the live adapter"
    if figure.form == "level":
        return f"Of the candidate, {figure.unit}"
    return f"Changes, {figure.unit}"


def _rows(figure: Figure, verdict: Verdict) -> Iterable[Row]:
    comparison = verdict.comparisons.get(figure.name)
    if comparison is None or not math.isfinite(comparison.change.low + comparison.change.high):
        return
    findings = [one for one in verdict.findings if one.criterion.figure == figure.name]
    bounds = tuple(sorted({finding.criterion.bound for finding in findings}))
    yield Row(_label(figure), comparison.change, bounds, _gravest(findings))


def _gravest(findings: Sequence[Finding]) -> str:
    standings = {finding.standing for finding in findings}
    return _mark(next(one for one in ("failed", "open", "met", "not judged") if one in standings))


def _mark(standing: str) -> str:
    """Its name in the style sheet."""
    return standing.replace(" ", "-")


def _label(figure: Figure) -> str:
    where = {"held_out": " (held-out)", "general": " (uncorrected)"}
    return figure.title + where.get(figure.name.split(".")[0], "")


def _table(verdict: Verdict) -> str:
    if not verdict.findings:
        return ""
    names = ("", "live", "candidate", "change", "needed", "demand", "images", "")
    heading = "".join(f"<th>{name}</th>" for name in names)
    rows = "\n".join(_table_row(finding, verdict) for finding in verdict.findings)
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{rows}</tbody></table>"


def _table_row(finding: Finding, verdict: Verdict) -> str:
    criterion = finding.criterion
    figure, comparison = FIGURES[criterion.figure], verdict.comparisons.get(criterion.figure)
    means, change, num_images = ("", ""), "", 0
    if comparison is not None:
        means = figure.shown_mean(comparison.live), figure.shown_mean(comparison.candidate)
        change, num_images = figure.shown(comparison.change), comparison.num_images
    cells = (_label(figure), *means, change, _needed(criterion, figure), criterion.demand, str(num_images))
    badge = f'<span class="badge {_mark(finding.standing)}">{finding.standing}</span>'
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + f"<td>{badge}</td></tr>"


def _needed(criterion: Criterion, figure: Figure) -> str:
    return f"{criterion.comparative} {figure.shown_number(criterion.bound)}"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


EXPLANATION = """<h2>How to read this</h2>
<p>Both adapters answered the same items, which were fixed before training. Dots are estimates, bars their intervals,
dashed ticks the bounds. <b>shown</b>: the whole interval must lie beyond the bound. <b>kept</b>: the whole interval has
to stay within it; where only the estimate does, the candidate is held for review (open). <b>unrefuted</b>: it is
refused only where the whole interval lies outside. One failed criterion refuses.</p>"""
