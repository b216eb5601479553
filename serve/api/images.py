"""Images out of a request: safe to decode before anything decodes them."""

from __future__ import annotations

from align.errors import InvalidImage
from align.images import ImageLimits, check_image, decode_data_url
from serve.errors import InvalidPrompt


def image_bytes(url: str, limits: ImageLimits) -> bytes:
    """The encoded image of a `data:` URL, checked whole. Raises `InvalidPrompt`."""
    if not url.startswith("data:"):
        raise InvalidPrompt("image_url must be a data: URL; this server fetches nothing from the network")
    try:
        data = decode_data_url(url, limits)
        check_image(data, limits)
    except InvalidImage as error:
        raise InvalidPrompt(str(error)) from error
    return data
