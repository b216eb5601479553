"""An image, in whatever form the caller has it, as the URL that goes into a message."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from .errors import UnsupportedImage

SIGNATURES = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/webp": rb"RIFF....WEBP",
    "image/gif": rb"GIF8[79]a",
}


class Saveable(Protocol):
    """What a `PIL.Image.Image` can do; Pillow itself is not needed."""

    def save(self, fp: Any, format: str | None = None) -> None: ...


Image: TypeAlias = "str | os.PathLike[str] | bytes | Saveable"


def image_url(image: Image) -> str:
    """http(s) and data URLs stay as they are; a path, bytes or a PIL image becomes a data URL.

    Raises `UnsupportedImage` for what is not PNG, JPEG, WebP or GIF, and `OSError` where a file cannot be read.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://", "data:")):
        return image
    if isinstance(image, (str, os.PathLike)):
        return _data_url(Path(image).read_bytes(), f"the file {os.fspath(image)!r}")
    if isinstance(image, bytes):
        return _data_url(image, "what was given as bytes")
    if not hasattr(image, "save"):
        raise UnsupportedImage(
            f"an image is a path, a URL, bytes or a PIL image, not {type(image).__name__!r}"
        )
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return _data_url(buffer.getvalue(), "what the image saved")


def _data_url(data: bytes, name: str) -> str:
    for media_type, signature in SIGNATURES.items():
        if re.match(signature, data, re.DOTALL):
            return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    raise UnsupportedImage(f"{name} is no PNG, JPEG, WebP or GIF image; convert it to one of them")
