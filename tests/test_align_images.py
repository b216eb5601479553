"""Pictures from outside, attacked: bombs, files cut short or spoilt, files that are two things at once, strips."""

from __future__ import annotations

import hashlib
import io
import struct
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.errors import InvalidImage
from align.images import (
    FORMATS,
    ImageLimits,
    check_image,
    decode_data_url,
    encode_data_url,
    file_ending,
    upright,
)
from align.likeness import look
from align.rendering import decode_image

LIMITS = ImageLimits()
MAX_MEMORY = 100 * 2**20
"""Bytes that an attack may take on the way to its refusal: Pillow reads 64 MiB of text out of a PNG, and no more."""


def encoded(image_format: str, size: tuple[int, int] = (20, 10), **options: object) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(buffer, image_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, pixels: bytes = b"") -> bytes:
    """Grey; `more` are chunks between the header and the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", header, *more, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""))
    )


def webp(width: int, height: int, *, is_animated: bool) -> bytes:
    """A picture of 4 x 4 on a canvas that claims to be of this size."""
    picture = encoded("WEBP", (4, 4))[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<IB3x", 10, 2 if is_animated else 0) + canvas
    if is_animated:
        frame = bytes(6) + (3).to_bytes(3, "little") * 2 + bytes(4) + picture
        picture = b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(frame)) + frame
    body += picture
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def gif(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    start = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return start + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\x00;"


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded("JPEG", (8, 8)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


ZEROS = zlib.compress(bytes(50_000_000))
BOMBS = {
    "png": png(60_000, 60_000),
    "png just above the limit": png(7072, 7072, pixels=bytes(7072 * 7073)),
    "png with text": png(4, 4, chunk(b"iTXt", b"k\0\1\0\0\0" + ZEROS)),
    "png with old text": png(4, 4, chunk(b"zTXt", b"k\0\0" + ZEROS)),
    "png with many texts": png(
        4, 4, *(chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(bytes(1_000_000))) for n in range(100))
    ),
    "png with colour profile": png(4, 4, chunk(b"iCCP", b"x\0\0" + ZEROS)),
    "webp": webp(16383, 16383, is_animated=False),
    "webp animated": webp(16383, 16383, is_animated=True),
    "webp animated, as large as it can say": webp(2**24, 2**7, is_animated=True),
    "gif screen": gif((65535, 65535), (1, 1)),
    "gif frame": gif((1, 1), (65535, 65535)),
    "jpeg": jpeg(65500, 65500),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(name: str) -> None:
    data = BOMBS[name]
    assert len(data) < 500_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidImage, match=r"pixels|Decompressed|Too much memory"):
            check_image(data, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    finally:
        tracemalloc.stop()


def test_pixels_beyond_the_size_that_a_png_tells_are_not_inflated() -> None:
    data = png(4, 4, pixels=bytes(50_000_000))
    tracemalloc.start()
    try:
        assert check_image(data, LIMITS) == 16
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [(1, 101), (101, 1), (20, 2001)])
def test_a_strip_is_refused(size: tuple[int, int]) -> None:
    """A processor that scales the shorter side to 336 pixels would make one of 1 x 20,000 need gigabytes."""
    with pytest.raises(InvalidImage, match="one side may be 100 times the other"):
        check_image(encoded("PNG", size), LIMITS)
    assert check_image(encoded("PNG", (1, 100)), LIMITS) == 100


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(image_format: str) -> None:
    data = encoded(image_format, (40, 30))
    end = data.rindex(b"IDAT") + 400 if image_format == "PNG" else len(data) - 8
    for length in (*range(0, end, 97), end):
        with pytest.raises(InvalidImage):
            check_image(data[:length], LIMITS)


@settings(max_examples=300, deadline=None)
@given(
    image_format=st.sampled_from(sorted(FORMATS)),
    spoilt=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_a_spoilt_file_is_a_picture_or_refused_and_nothing_else(
    image_format: str, spoilt: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(image_format))
    for at, value in spoilt:
        data[at % len(data)] = value
    look(bytes(data))
    for use in (
        lambda: check_image(bytes(data), LIMITS),
        lambda: upright(bytes(data)),
        lambda: file_ending(bytes(data)),
    ):
        with suppress(InvalidImage):
            use()


OTHER_FORMATS = ("BMP", "TIFF", "PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "AVIF", "DDS", "EPS")


@pytest.mark.parametrize("image_format", OTHER_FORMATS)
def test_no_other_format_is_opened_anywhere(image_format: str) -> None:
    """Pillow knows dozens, some by external programs; a check of one format must not be a decode of another."""
    data = encoded(image_format, (16, 16))
    for use in (
        lambda: check_image(data, LIMITS),
        lambda: upright(data),
        lambda: decode_image("a", {"a": data}),
    ):
        with pytest.raises(InvalidImage):
            use()
    assert look(data) == hashlib.sha256(data).hexdigest(), "like itself alone"
    with pytest.raises(InvalidImage):
        encode_data_url(data)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_picture_that_is_something_else_as_well_is_decoded_as_what_was_checked(image_format: str) -> None:
    """Bytes behind the end may be a script, an archive or another picture: they are never looked at."""
    data = encoded(image_format)
    for more in (
        b"<script>alert(1)</script>",
        b"PK\x05\x06" + bytes(18),
        encoded("BMP", (99, 99)),
        b"%PDF-1.7",
    ):
        assert check_image(data + more, LIMITS) == 200
        assert upright(data + more).tobytes() == upright(data).tobytes()


def test_a_jpeg_with_further_pictures_is_a_jpeg() -> None:
    first, second = PIL.Image.new("RGB", (20, 10), "red"), PIL.Image.new("RGB", (900, 900), "blue")
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    data = buffer.getvalue()
    assert check_image(data, LIMITS) == 200
    assert upright(data).size == (20, 10)
    assert file_ending(data) == "jpg"
    assert decode_data_url(encode_data_url(data), LIMITS) == data
    assert encode_data_url(data).startswith("data:image/jpeg;")


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_seen_and_no_other_decoded(image_format: str) -> None:
    frames = [PIL.Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "lime")]
    buffer = io.BytesIO()
    frames[0].save(buffer, image_format, save_all=True, append_images=frames[1:], lossless=True)
    assert check_image(buffer.getvalue(), ImageLimits(max_pixels=200)) == 200
    red, green, blue = upright(buffer.getvalue()).getpixel((10, 5))  # type: ignore[misc]  # of RGB there are three
    assert (red > 200, green < 50, blue < 50) == (True, True, True)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_data_say(image_format: str, orientation: int) -> None:
    """Worked by hand: where the red top left corner of the stored picture comes to stand (EXIF 2.3, tag 0x0112)."""
    stored = PIL.Image.new("RGB", (40, 20), "white")
    stored.paste("red", (0, 0, 10, 10))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, image_format, exif=exif, quality=95)
    turned = upright(buffer.getvalue())
    assert turned.size == ((40, 20) if orientation < 5 else (20, 40))
    right, bottom = turned.width - 5, turned.height - 5
    corner = {
        1: (4, 4),
        2: (right, 4),
        3: (right, bottom),
        4: (4, bottom),
        5: (4, 4),
        6: (right, 4),
        7: (right, bottom),
        8: (4, bottom),
    }[orientation]
    _, green, _ = turned.getpixel(corner)  # type: ignore[misc]  # of RGB there are three
    assert green < 100


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + bytes(2), b"x" * 60_000]
)
def test_broken_exif_data_break_nothing_else(exif: bytes) -> None:
    data = encoded("JPEG", exif=exif)
    assert check_image(data, LIMITS) == 200
    with suppress(InvalidImage):
        assert upright(data).size == (20, 10)
