"""A scene as a picture of 96 x 96 pixels. Knows nothing about sentences; the same scene gives the same bytes."""

from __future__ import annotations

import io
import random
from functools import cache

from PIL import Image, ImageDraw

from .shapes import RGB, SHAPES, Pen
from .world import Item, Scene

IMAGE_SIZE = 96
_OVERSAMPLING = 2
_CELL = IMAGE_SIZE * _OVERSAMPLING // 3

_PALETTE: dict[str, RGB] = {
    "red": (214, 32, 36),
    "orange": (255, 136, 0),
    "yellow": (252, 222, 40),
    "green": (28, 150, 52),
    "blue": (28, 84, 214),
    "purple": (132, 52, 186),
    "pink": (255, 150, 205),
    "brown": (128, 76, 40),
    "white": (252, 252, 252),
    "black": (16, 16, 16),
}
_DARK: RGB = (24, 24, 24)
_LIGHT: RGB = (236, 236, 236)


def draw(scene: Scene) -> Image.Image:
    """The RGB picture of the scene."""
    picture = _background(scene.theme).copy()
    canvas = ImageDraw.Draw(picture)
    rng = random.Random(repr(scene))
    for item in scene.items:
        _draw_item(canvas, item, _LIGHT if scene.theme == "night" else _DARK, rng)
    return picture.reduce(_OVERSAMPLING)


def png_bytes(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    draw(scene).save(buffer, "PNG")
    return buffer.getvalue()


def _draw_item(canvas: ImageDraw.ImageDraw, item: Item, outline: RGB, rng: random.Random) -> None:
    fill = _PALETTE[item.colour]
    detail = _DARK if sum(fill) > 330 else _LIGHT
    left, top = item.cell % 3 * _CELL, item.cell // 3 * _CELL
    size = _CELL * (rng.uniform(0.74, 0.84) if item.count == 1 else rng.uniform(0.47, 0.5))
    spare = _CELL - size
    if item.count == 1:
        places = [(spare * rng.uniform(0.3, 0.7), spare * rng.uniform(0.3, 0.7))]
    else:
        places = [
            (spare * 0.04, spare * rng.uniform(0.04, 0.3)),
            (spare * 0.96, spare * rng.uniform(0.7, 0.96)),
        ]
    for x, y in places:
        SHAPES[item.kind](Pen(canvas, left + x, top + y, size, fill, outline, detail, width=2))


@cache
def _background(theme: str) -> Image.Image:
    side = IMAGE_SIZE * _OVERSAMPLING
    picture = Image.new("RGB", (side, side))
    canvas = ImageDraw.Draw(picture)
    for top, bottom, colour in _BANDS[theme]:
        canvas.rectangle((0, top * side, side, bottom * side), fill=colour)
    if theme == "street":
        for x in range(4, side, 48):
            canvas.rectangle((x, side * 0.83, x + 24, side * 0.855), fill=(214, 214, 206))
    if theme == "night":
        rng = random.Random("night sky")
        for _ in range(40):
            x, y = rng.randrange(side), rng.randrange(int(side * 0.6))
            canvas.rectangle((x, y, x + 1, y + 1), fill=(150, 155, 190))
    return picture


_BANDS: dict[str, tuple[tuple[float, float, RGB], ...]] = {
    "beach": ((0.0, 0.4, (206, 232, 246)), (0.4, 0.62, (140, 200, 216)), (0.62, 1.0, (240, 224, 182))),
    "street": ((0.0, 0.45, (214, 220, 228)), (0.45, 0.68, (188, 184, 180)), (0.68, 1.0, (138, 138, 144))),
    "park": ((0.0, 0.35, (218, 238, 250)), (0.35, 1.0, (176, 216, 150))),
    "night": ((0.0, 0.66, (40, 44, 84)), (0.66, 1.0, (44, 62, 58))),
}
