"""Copies of a picture look the same, in another size, format or compression; other pictures mostly do not."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from align.likeness import look
from align.scenes.draw import draw
from align.scenes.world import sample_scene

PICTURES = [draw(sample_scene("honest", "test", index)) for index in range(100)]


def encoded(picture: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "copy",
    [
        lambda picture: encoded(picture, "JPEG", quality=85),
        lambda picture: encoded(picture, "WEBP", quality=80),
        lambda picture: encoded(picture.resize((144, 144))),
        lambda picture: encoded(picture.resize((48, 48))),
        lambda picture: encoded(picture.convert("RGBA")),
    ],
    ids=["JPEG", "WebP", "larger", "smaller", "with alpha"],
)
def test_most_copies_look_like_their_original(copy: Callable[[Image.Image], bytes]) -> None:
    same = sum(look(copy(picture)) == look(encoded(picture)) for picture in PICTURES)
    assert same >= 85


def test_other_pictures_mostly_look_otherwise() -> None:
    assert len({look(encoded(picture)) for picture in PICTURES}) >= 90


def test_a_look_is_the_steps_from_field_to_field() -> None:
    stripes = Image.new("L", (4, 3))
    stripes.putdata([0, 100, 100, 0, 50, 59, 67, 200, 9, 0, 9, 0])
    assert look(encoded(stripes)) == "+0-" + "+0+" + "-+-"


def test_a_picture_that_a_camera_held_sideways_is_turned_upright_first() -> None:
    picture = PICTURES[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = encoded(picture.rotate(90), "JPEG", quality=95, exif=exif)
    assert look(turned) == look(encoded(picture, "JPEG", quality=95))


def test_a_large_jpeg_looks_as_it_does_when_small() -> None:
    large = PICTURES[1].resize((1600, 1600))
    assert look(encoded(large, "JPEG", quality=90)) == look(encoded(large))


def test_bytes_that_are_no_picture_are_like_themselves_alone() -> None:
    assert look(b"one") == look(b"one") != look(b"other")
