"""The client takes an image as its user has it, and makes it smaller only if asked."""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from errata import UnsupportedImage
from errata.images import image_url
from fake_errata import FakeErrata, Session
from PIL import Image


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_path_and_bytes_become_a_data_url_of_the_same_bytes(tmp_path: Path, format: str) -> None:
    data = encoded(format)
    path = tmp_path / "image.bin"  # the bytes decide what it is, not the name
    path.write_bytes(data)
    url = f"data:image/{format.lower()};base64,{base64.b64encode(data).decode()}"
    assert image_url(data) == image_url(path) == image_url(str(path)) == url


def test_a_pil_image_becomes_a_png_of_the_same_pixels() -> None:
    image = Image.new("RGB", (3, 2), "red")
    head, payload = image_url(image).split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(payload) == encoded("PNG")


def test_urls_stay_as_they_are() -> None:
    for url in ("https://example.com/a.png", "http://example.com/a.png", "data:image/png;base64,AAAA"):
        assert image_url(url) == url


def test_what_is_no_image_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "page.svg").write_text("<svg/>")
    with pytest.raises(UnsupportedImage, match=r"page\.svg.*convert it"):
        image_url(tmp_path / "page.svg")
    with pytest.raises(UnsupportedImage, match="'int'"):
        image_url(3)  # type: ignore[arg-type]  # what an untyped caller may do
    with pytest.raises(FileNotFoundError):
        image_url("nowhere.png")


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2, 3), (640, 1)])
def test_an_array_becomes_a_png_of_the_same_pixels(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    assert np.array_equal(np.asarray(opened(image_url(pixels))), pixels)
    flipped = pixels[::-1, :, ::-1]  # neither is in the order of its memory
    assert np.array_equal(np.asarray(opened(image_url(flipped))), flipped)


def test_a_png_is_what_the_specification_says() -> None:
    data = base64.b64decode(image_url(np.array([[[1, 2, 3]]], np.uint8)).split(",")[1])
    assert data[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    length, name = struct.unpack(">I4s", data[8:16])
    assert (length, name, struct.unpack(">2I5B", data[16:29])) == (13, b"IHDR", (1, 1, 8, 2, 0, 0, 0))
    assert struct.unpack(">I", data[29:33]) == (zlib.crc32(data[12:29]),)
    length, name = struct.unpack(">I4s", data[33:41])
    assert (name, zlib.decompress(data[41 : 41 + length])) == (b"IDAT", bytes([0, 1, 2, 3]))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2, 3)),
        np.zeros((2, 2), np.uint8),
        np.zeros((3, 2, 2), np.uint8),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_another_array_is_refused_with_what_to_give(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> None:
    with pytest.raises(UnsupportedImage, match=r"\(height, width, 3\) of uint8, not .*astype"):
        image_url(array)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_image_is_made_smaller_only_if_asked(kind: str) -> None:
    server = FakeErrata()
    session = Session(kind, server)
    pixels = np.zeros((300, 400, 3), np.uint8)
    for options, size in (
        ({}, (400, 300)),
        ({"max_image_side": 100}, (100, 75)),
        ({"max_image_side": 400}, (400, 300)),
    ):
        session.do(session.client.ask("What?", image=[pixels, pixels], **options))
        body = json.loads(server.requests[-1].content)
        assert "max_image_side" not in body
        parts = body["messages"][-1]["content"][:2]
        assert [opened(part["image_url"]["url"]).size for part in parts] == [size, size]
    session.close()


@pytest.mark.parametrize(
    ("format", "smaller"), [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "png"), ("GIF", "png")]
)
def test_a_smaller_image_is_of_a_kind_that_the_server_reads(format: str, smaller: str) -> None:
    url = image_url(encoded(format, (30, 20)), max_side=15)
    assert url.startswith(f"data:image/{smaller};")
    assert opened(url).size == (15, 10)


def test_an_image_that_is_small_enough_is_sent_byte_by_byte_as_it_is() -> None:
    for format in ("PNG", "JPEG", "WEBP", "GIF"):
        data = encoded(format, (30, 20))
        assert base64.b64decode(image_url(data, max_side=30).split(",")[1]) == data


def test_a_photo_that_lies_on_its_side_is_made_smaller_upright() -> None:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    Image.new("RGB", (40, 20), "red").save(buffer, "JPEG", exif=exif)
    assert opened(image_url(buffer.getvalue(), max_side=20)).size == (10, 20)


def test_what_cannot_be_made_smaller_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedImage, match="not a URL"):
        image_url("https://example.com/a.png", max_side=10)
    with pytest.raises(UnsupportedImage, match="cannot be read"):
        image_url(encoded("PNG", (30, 20))[:40], max_side=10)
    with pytest.raises(ValueError, match="max_image_side is 0"):
        image_url(encoded("PNG"), max_side=0)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        image_url(encoded_before := b"\x89PNG\r\n\x1a\n", max_side=10)
    assert image_url(encoded_before).startswith("data:image/png;")


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


def encoded(format: str, size: tuple[int, int] = (3, 2)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, format=format)
    return buffer.getvalue()
