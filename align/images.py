"""Encoded pictures from outside: safe to decode before anything decodes them. Knows no request and no model."""

from __future__ import annotations

import base64
import io

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from .errors import InvalidImage

FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif"}
"""What is read, by Pillow's name, and how such a file's name ends."""


class ImageLimits(BaseModel):
    """Checked before an image is decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=20 * 2**20, gt=0, description="Of one encoded image.")
    max_pixels: int = Field(default=50_000_000, gt=0, description="Width times height of one image.")
    max_per_request: int = Field(
        default=16, gt=0, description="Images in all messages of one request, or of one imported row."
    )


def check_image(data: bytes, limits: ImageLimits) -> None:
    """Size, format and pixels from the header, then a whole decode, so that a truncated file fails here.

    Raises `InvalidImage`.
    """
    if len(data) > limits.max_bytes:
        raise InvalidImage(_too_large(limits))
    try:
        image = Image.open(io.BytesIO(data), formats=tuple(FORMATS))
        width, height = image.size
        if width * height > limits.max_pixels:
            raise InvalidImage(
                f"an image has {width} x {height} pixels, the limit is {limits.max_pixels} in all"
            )
        image.load()
    except InvalidImage:
        raise
    except Exception as error:  # decoders raise all kinds of things on damaged files
        raise InvalidImage(f"an image cannot be read as {', '.join(FORMATS)}: {error}") from error


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
    return f"data:{Image.MIME[_format(data)]};base64,{base64.b64encode(data).decode()}"


def file_ending(data: bytes) -> str:
    """`png` or the like. Raises `InvalidImage` for bytes of another format."""
    return FORMATS[_format(data)]


def _format(data: bytes) -> str:
    try:
        return str(Image.open(io.BytesIO(data), formats=tuple(FORMATS)).format)
    except Exception as error:  # decoders raise all kinds of things on damaged files
        raise InvalidImage(f"an image cannot be read as {', '.join(FORMATS)}: {error}") from error


def _too_large(limits: ImageLimits) -> str:
    return f"an image is larger than {limits.max_bytes} bytes; send a smaller one"
