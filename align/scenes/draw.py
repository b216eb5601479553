"""A scene as a picture of 96 x 96 pixels, and back. Knows nothing about sentences; the same scene gives the same bytes.

The file says beside its pixels what they show, so that answers about it can be scored wherever it turns up. The note is
believed only where the scene, drawn again, is this picture: nobody can pass off another one as a scene.
"""

from __future__ import annotations

import io
import json
import random
from functools import cache

from PIL import Image, ImageDraw, PngImagePlugin

from .shapes import RGB, SHAPES, Pen
from .world import Item, Scene

IMAGE_SIZE = 96
_NOTE = "errata-scene"
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
    """The picture as a PNG file, with a note of the scene."""
    note = PngImagePlugin.PngInfo()
    items = [[item.kind, item.colour, item.cell, item.count] for item in scene.items]
    note.add_text(_NOTE, json.dumps([scene.theme, items], separators=(",", ":")))
    buffer = io.BytesIO()
    draw(scene).save(buffer, "PNG", pnginfo=note)
    return buffer.getvalue()


def scene_of(encoded: bytes) -> Scene | None:
    """The scene that the file shows; none where it notes none, or one that is not what its pixels show."""
    try:
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as picture:
            if picture.size != (IMAGE_SIZE, IMAGE_SIZE) or picture.mode != "RGB":
                return None
            picture.load()
            theme, items = json.loads(picture.info[_NOTE])
            scene = Scene(theme, tuple(Item(*item) for item in items))
            is_true = picture.tobytes() == draw(scene).tobytes()
    except (OSError, SyntaxError, ValueError, TypeError, LookupError):  # no PNG, no note, or no scene in it
        return None
    return scene if is_true else None


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
