"""Encoded pictures from outside: safe to decode before anything decodes them. Knows no request and no model."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from .errors import InvalidImage

FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif"}
"""What is read, by Pillow's name, and how such a file's name ends."""


class ImageLimits(BaseModel):
    """Checked before an image is decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=20 * 2**20, gt=0, description="Of one encoded image.")
    max_pixels: int = Field(default=50_000_000, gt=0, description="Width times height of one image.")
    max_total_pixels: int = Field(
        default=100_000_000,
        gt=0,
        description="Of all images of one request: decoded, each takes 3 bytes a pixel.",
    )
    max_aspect_ratio: float = Field(
        default=100.0,
        ge=1,
        description="Longer side over shorter: processors that scale the shorter side up make strips gigantic.",
    )
    max_per_request: int = Field(
        default=16, gt=0, description="Images in all messages of one request, or of one imported row."
    )


def check_image(data: bytes, limits: ImageLimits) -> int:
    """Size, format and pixels from the header, then a whole decode, so that a truncated file fails here.

    Returns the number of pixels. Raises `InvalidImage`.
    """
    if len(data) > limits.max_bytes:
        raise InvalidImage(_too_large(limits))
    try:
        image = open_image(data)
        width, height = image.size
        if width * height > limits.max_pixels:
            raise InvalidImage(
                f"an image has {width} x {height} pixels, the limit is {limits.max_pixels} in all"
            )
        if max(width, height) > limits.max_aspect_ratio * min(width, height):
            raise InvalidImage(
                f"an image has {width} x {height} pixels; one side may be {limits.max_aspect_ratio:g} times the other"
            )
        image.load()
    except InvalidImage:
        raise
    except Exception as error:  # decoders raise all kinds of things on damaged files
        raise InvalidImage(_unreadable(error)) from error
    return width * height


def open_image(data: bytes) -> Image.Image:
    """The one place where bytes from outside become a picture, not yet decoded: no other format is ever tried.

    Raises whatever Pillow raises.
    """
    return Image.open(io.BytesIO(data), formats=tuple(FORMATS))


def upright(data: bytes) -> Image.Image:
    """The first frame, turned as its EXIF data say, as RGB. Raises `InvalidImage`."""
    try:
        return ImageOps.exif_transpose(open_image(data)).convert("RGB")
    except Exception as error:  # decoders raise all kinds of things on damaged files
        raise InvalidImage(_unreadable(error)) from error


def decode_data_url(url: str, limits: ImageLimits) -> bytes:
    """The encoded image of a `data:` URL, not yet checked but for its size. Raises `InvalidImage`."""
    header, comma, payload = url.partition(",")
    if not comma or not header.startswith("data:") or not header.endswith(";base64"):
        raise InvalidImage("image_url must look like data:image/png;base64,...")
    if len(payload) > limits.max_bytes * 4 / 3 + 4:
        raise InvalidImage(_too_large(limits))
    try:
        return base64.b64decode(payload, validate=True)
    except ValueError as error:
        raise InvalidImage(f"image_url is not valid base64: {error}") from error


def encode_data_url(data: bytes) -> str:
    """Raises `InvalidImage` for bytes of another format."""
    return f"data:{media_type(data)};base64,{base64.b64encode(data).decode()}"


def media_type(data: bytes) -> str:
    """`image/png` or the like. Raises `InvalidImage` for bytes of another format."""
    return Image.MIME[_format(data)]


def file_ending(data: bytes) -> str:
    """`png` or the like. Raises `InvalidImage` for bytes of another format."""
    return FORMATS[_format(data)]


def _format(data: bytes) -> str:
    try:
        found = str(open_image(data).format)
    except Exception as error:  # decoders raise all kinds of things on damaged files
        raise InvalidImage(_unreadable(error)) from error
    return (
        "JPEG" if found == "MPO" else found
    )  # what Pillow calls a JPEG with further pictures after the first


def _too_large(limits: ImageLimits) -> str:
    return f"an image is larger than {limits.max_bytes} bytes; send a smaller one"


def _unreadable(error: Exception) -> str:
    return f"an image cannot be read as {', '.join(FORMATS)}: {error}"
