"""The outlines of the sixteen kinds, in a unit square. Knows nothing about scenes, cells or backgrounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import ImageDraw

RGB = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Pen:
    """Draws in a unit square placed at (left, top) with this size in pixels."""

    canvas: ImageDraw.ImageDraw
    left: float
    top: float
    size: float
    fill: RGB
    outline: RGB
    detail: RGB
    width: int

    def at(self, points: Sequence[Point]) -> list[Point]:
        return [(self.left + x * self.size, self.top + y * self.size) for x, y in points]

    def polygon(self, *points: Point, fill: RGB | None = None) -> None:
        corners = self.at(points)
        self.canvas.polygon(corners, fill=fill or self.fill)
        self.canvas.line(
            [*corners, corners[0], corners[1]], fill=self.outline, width=self.width, joint="curve"
        )

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill: RGB | None = None) -> None:
        self.canvas.ellipse(self.at([(x0, y0), (x1, y1)]), fill or self.fill, self.outline, self.width)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: RGB | None = None) -> None:
        self.canvas.rectangle(self.at([(x0, y0), (x1, y1)]), fill or self.fill, self.outline, self.width)

    def line(self, *points: Point, colour: RGB | None = None, width: float = 1.0) -> None:
        self.canvas.line(
            self.at(points), colour or self.detail, max(1, round(self.width * width)), joint="curve"
        )

    def arc(self, x0: float, y0: float, x1: float, y1: float, start: int, end: int) -> None:
        self.canvas.arc(self.at([(x0, y0), (x1, y1)]), start, end, self.detail, self.width)

    def half_disc(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self.canvas.pieslice(self.at([(x0, y0), (x1, y1)]), 180, 360, self.fill, self.outline, self.width)


def _ring(num: int, radius: float, turn: float = 0.0) -> list[Point]:
    angles = [turn + 2 * math.pi * step / num for step in range(num)]
    return [(0.5 + radius * math.sin(angle), 0.5 - radius * math.cos(angle)) for angle in angles]


def sun(pen: Pen) -> None:
    outer, inner = _ring(10, 0.5), _ring(10, 0.31, math.pi / 10)
    pen.polygon(*(point for pair in zip(outer, inner, strict=True) for point in pair))
    pen.ellipse(0.24, 0.24, 0.76, 0.76)


def moon(pen: Pen) -> None:
    outer = [(0.62 - 0.5 * math.sin(a), 0.5 - 0.5 * math.cos(a)) for a in _sweep(-0.35, math.pi + 0.35)]
    inner = [(0.82 - 0.42 * math.sin(a), 0.5 - 0.42 * math.cos(a)) for a in _sweep(math.pi - 0.05, 0.05)]
    pen.polygon(*outer, *inner)


def _sweep(start: float, end: float) -> list[float]:
    return [start + (end - start) * step / 14 for step in range(15)]


def star(pen: Pen) -> None:
    outer, inner = _ring(5, 0.52), _ring(5, 0.21, math.pi / 5)
    pen.polygon(*(point for pair in zip(outer, inner, strict=True) for point in pair))


def house(pen: Pen) -> None:
    pen.box(0.14, 0.45, 0.86, 0.98)
    pen.polygon((0.02, 0.46), (0.5, 0.02), (0.98, 0.46))
    pen.box(0.42, 0.64, 0.6, 0.97, fill=pen.detail)


def tree(pen: Pen) -> None:
    pen.box(0.42, 0.6, 0.58, 1.0, fill=pen.detail)
    pen.polygon((0.5, 0.0), (0.9, 0.42), (0.7, 0.42), (0.98, 0.76), (0.02, 0.76), (0.3, 0.42), (0.1, 0.42))


def car(pen: Pen) -> None:
    pen.polygon(
        (0.0, 0.76),
        (0.0, 0.5),
        (0.2, 0.46),
        (0.34, 0.22),
        (0.7, 0.22),
        (0.82, 0.46),
        (1.0, 0.52),
        (1.0, 0.76),
    )
    pen.polygon((0.32, 0.46), (0.4, 0.3), (0.65, 0.3), (0.71, 0.46), fill=pen.detail)
    for x in (0.1, 0.62):
        pen.ellipse(x, 0.6, x + 0.28, 0.88, fill=pen.detail)


def bus(pen: Pen) -> None:
    pen.box(0.0, 0.1, 1.0, 0.8)
    for x in (0.08, 0.38, 0.68):
        pen.box(x, 0.2, x + 0.23, 0.44, fill=pen.detail)
    for x in (0.12, 0.64):
        pen.ellipse(x, 0.68, x + 0.25, 0.93, fill=pen.detail)


def boat(pen: Pen) -> None:
    pen.line((0.5, 0.02), (0.5, 0.7), colour=pen.outline)
    pen.polygon((0.54, 0.04), (0.54, 0.6), (0.94, 0.6))
    pen.polygon((0.46, 0.16), (0.46, 0.6), (0.14, 0.6))
    pen.polygon((0.0, 0.68), (1.0, 0.68), (0.82, 0.98), (0.18, 0.98))


def fish(pen: Pen) -> None:
    pen.polygon((0.64, 0.5), (1.0, 0.2), (1.0, 0.8))
    pen.ellipse(0.0, 0.22, 0.76, 0.78)
    pen.ellipse(0.13, 0.38, 0.24, 0.49, fill=pen.detail)
    pen.arc(0.2, 0.32, 0.42, 0.68, 290, 70)


def cat(pen: Pen) -> None:
    pen.polygon(
        (0.1, 0.55), (0.1, 0.02), (0.4, 0.24), (0.6, 0.24), (0.9, 0.02), (0.9, 0.55), (0.7, 0.92), (0.3, 0.92)
    )
    for x in (0.26, 0.6):
        pen.ellipse(x, 0.42, x + 0.14, 0.56, fill=pen.detail)
    for y in (0.66, 0.76):
        pen.line((0.0, y), (0.36, 0.7), colour=pen.detail, width=0.7)
        pen.line((1.0, y), (0.64, 0.7), colour=pen.detail, width=0.7)


def flower(pen: Pen) -> None:
    pen.line((0.5, 0.5), (0.5, 1.0), colour=pen.outline, width=1.6)
    pen.line((0.5, 0.86), (0.78, 0.7), colour=pen.outline, width=1.6)
    for x, y in _ring(5, 0.24):
        pen.ellipse(x - 0.18, y - 0.34, x + 0.18, y + 0.02)
    pen.ellipse(0.38, 0.22, 0.62, 0.46, fill=pen.detail)


def ball(pen: Pen) -> None:
    pen.ellipse(0.04, 0.04, 0.96, 0.96)
    pen.arc(0.3, 0.04, 1.3, 0.96, 118, 242)
    pen.arc(-0.3, 0.04, 0.7, 0.96, 298, 62)
    pen.line((0.05, 0.5), (0.95, 0.5))


def kite(pen: Pen) -> None:
    pen.line((0.5, 0.68), (0.32, 0.8), (0.56, 0.88), (0.4, 1.0), colour=pen.outline)
    pen.polygon((0.5, 0.0), (0.86, 0.3), (0.5, 0.72), (0.14, 0.3))
    pen.line((0.5, 0.02), (0.5, 0.7))
    pen.line((0.16, 0.3), (0.84, 0.3))


def umbrella(pen: Pen) -> None:
    pen.line((0.5, 0.4), (0.5, 0.9), (0.58, 0.97), (0.68, 0.88), colour=pen.outline, width=1.4)
    pen.half_disc(0.0, 0.06, 1.0, 1.04)
    pen.arc(0.3, 0.06, 0.7, 1.04, 180, 360)


def lamp(pen: Pen) -> None:
    pen.line((0.5, 0.5), (0.5, 0.92), colour=pen.outline, width=1.8)
    pen.polygon((0.34, 0.04), (0.66, 0.04), (0.9, 0.54), (0.1, 0.54))
    pen.box(0.26, 0.9, 0.74, 1.0)


def sign(pen: Pen) -> None:
    pen.line((0.5, 0.5), (0.5, 1.0), colour=pen.outline, width=2.2)
    pen.box(0.04, 0.06, 0.96, 0.58)
    for y in (0.24, 0.4):
        pen.line((0.18, y), (0.82, y), width=1.2)


SHAPES: dict[str, Callable[[Pen], None]] = {
    shape.__name__: shape
    for shape in (
        sun, moon, star, house, tree, car, bus, boat, fish, cat, flower, ball, kite, umbrella, lamp, sign,
    )
}  # fmt: skip
