"""Images out of a request: safe to decode before anything decodes them."""

from __future__ import annotations

import base64
import io

from PIL import Image

from serve.errors import InvalidPrompt
from serve.settings import ImageLimits

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


def image_bytes(url: str, limits: ImageLimits) -> bytes:
    """The encoded image of a `data:` URL, its header checked. Raises `InvalidPrompt`."""
    if not url.startswith("data:"):
        raise InvalidPrompt("image_url must be a data: URL; this server fetches nothing from the network")
    header, comma, payload = url.partition(",")
    if not comma or not header.endswith(";base64"):
        raise InvalidPrompt("image_url must look like data:image/png;base64,...")
    if len(payload) > limits.max_bytes * 4 / 3 + 4:
        raise InvalidPrompt(f"an image is larger than {limits.max_bytes} bytes; send a smaller one")
    try:
        data = base64.b64decode(payload, validate=True)
    except ValueError as error:
        raise InvalidPrompt(f"image_url is not valid base64: {error}") from error
    _check(data, limits)
    return data


def _check(data: bytes, limits: ImageLimits) -> None:
    """Format and size from the header, then a whole decode, so that a truncated file fails here."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > limits.max_pixels:
            raise InvalidPrompt(
                f"an image has {width} x {height} pixels, the limit is {limits.max_pixels} in all"
            )
        image.load()
    except InvalidPrompt:
        raise
    except Exception as error:  # decoders raise all kinds of things on damaged files
        raise InvalidPrompt(f"an image cannot be read as {', '.join(FORMATS)}: {error}") from error
