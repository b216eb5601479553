"""Plots as SVG text: changes with their intervals beside the bounds, and single values in order. Knows no gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from .bootstrap import Interval

WIDTH, LABELS, ROW, MARGIN = 860, 330, 22, 26


@dataclass(frozen=True)
class Row:
    """One line of a forest plot. `mark` is the CSS class of its colour."""

    label: str
    change: Interval
    bounds: tuple[float, ...]
    mark: str


@dataclass(frozen=True)
class Axis:
    """From values to pixels."""

    low: float
    high: float
    left: float
    right: float

    @classmethod
    def over(cls, values: Sequence[float], left: float, right: float) -> Axis:
        room = 0.05 * (max(values) - min(values)) or 1.0
        return cls(min(values) - room, max(values) + room, left, right)

    def at(self, value: float) -> float:
        return self.left + (value - self.low) / (self.high - self.low) * (self.right - self.left)


def forest(title: str, rows: Sequence[Row], neutral: float, shown: Callable[[float], str]) -> str:
    """Each row's interval, its estimate as a dot and its bounds as ticks; `neutral` is where nothing changes."""
    values = [neutral]
    for row in rows:
        values += [row.change.low, row.change.high, *row.bounds]
    axis = Axis.over(values, LABELS, WIDTH - MARGIN)
    height = ROW * len(rows) + 2 * MARGIN
    parts = [_line(axis.at(neutral), MARGIN / 2, axis.at(neutral), height - MARGIN, "neutral")]
    parts += [_row(row, axis, MARGIN + ROW * number) for number, row in enumerate(rows)]
    ends = ((min(values), "start"), (max(values), "end"))
    parts += [_text(axis.at(value), height - 6, shown(value), anchor) for value, anchor in ends]
    return _figure(title, height, parts)


def ordered_bars(title: str, values: Sequence[float], shown: Callable[[float], str]) -> str:
    """One bar a value, smallest first: how many lost, how many gained, and how much."""
    height = 180
    axis = Axis.over([0.0, *values], height - MARGIN, MARGIN / 2)  # upwards
    step = (WIDTH - 2 * MARGIN - 60) / len(values)
    parts = []
    for number, value in enumerate(sorted(values)):
        top, bottom = sorted((axis.at(value), axis.at(0.0)))
        mark = "failed" if value < 0 else "met"
        parts.append(
            f'<rect class="{mark}" x="{60 + MARGIN + number * step:.1f}" y="{top:.1f}" '
            f'width="{max(step - 1, 0.5):.1f}" height="{max(bottom - top, 0.5):.1f}"/>'
        )
    parts.append(_line(60 + MARGIN, axis.at(0.0), WIDTH - MARGIN, axis.at(0.0), "neutral"))
    parts += [_text(60, axis.at(end) + 4, shown(end), "end") for end in {min(values), 0.0, max(values)}]
    return _figure(title, height, parts)


def _row(row: Row, axis: Axis, top: float) -> str:
    middle = top + ROW / 2
    ticks = (_line(axis.at(bound), middle - 7, axis.at(bound), middle + 7, "bound") for bound in row.bounds)
    return "".join(
        (
            _text(LABELS - 14, middle + 4, row.label, "end"),
            *ticks,
            _line(axis.at(row.change.low), middle, axis.at(row.change.high), middle, row.mark),
            f'<circle class="{row.mark}" cx="{axis.at(row.change.estimate):.1f}" cy="{middle:.1f}" r="4"/>',
        )
    )


def _line(x1: float, y1: float, x2: float, y2: float, mark: str) -> str:
    return f'<line class="{mark}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _figure(title: str, height: float, parts: Sequence[str]) -> str:
    name = escape(title, quote=True)
    return (
        f"<figure><figcaption>{name}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{name}">{"".join(parts)}</svg></figure>'
    )
