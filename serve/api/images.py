"""Images out of a request: safe to decode before anything decodes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from align.errors import InvalidImage
from align.images import ImageLimits, check_image, decode_data_url
from serve.errors import InvalidPrompt


def is_remote(url: str) -> bool:
    return not url.startswith("data:")


def read_images(urls: Iterable[str], fetched: Mapping[str, bytes], limits: ImageLimits) -> dict[str, bytes]:
    """The encoded images of `data:` URLs, or what was fetched for others, checked whole. Raises `InvalidPrompt`."""
    images: dict[str, bytes] = {}
    num_pixels = 0
    try:
        for url in dict.fromkeys(urls):
            images[url] = fetched[url] if is_remote(url) else decode_data_url(url, limits)
            num_pixels += check_image(images[url], limits)
            if num_pixels > limits.max_total_pixels:
                raise InvalidImage(f"the images have more than {limits.max_total_pixels} pixels in all")
    except InvalidImage as error:
        raise InvalidPrompt(str(error)) from error
    return images
