"""Images out of a request: safe to decode before anything decodes them."""

from __future__ import annotations

from collections.abc import Mapping

from align.errors import InvalidImage
from align.images import ImageLimits, check_image, decode_data_url
from serve.errors import InvalidPrompt


def is_remote(url: str) -> bool:
    return not url.startswith("data:")


def image_bytes(url: str, fetched: Mapping[str, bytes], limits: ImageLimits) -> bytes:
    """The encoded image of a `data:` URL, or what was fetched for another, checked whole. Raises `InvalidPrompt`."""
    try:
        data = fetched[url] if is_remote(url) else decode_data_url(url, limits)
        check_image(data, limits)
    except InvalidImage as error:
        raise InvalidPrompt(str(error)) from error
    return data
