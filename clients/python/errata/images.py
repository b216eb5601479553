"""An image, in whatever form the caller has it, as the URL that goes into a message."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from .errors import UnsupportedImage
from .png import png
from .shrinking import shrunk

SIGNATURES = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/webp": rb"RIFF....WEBP",
    "image/gif": rb"GIF8[79]a",
}


class Saveable(Protocol):
    """What a `PIL.Image.Image` can do; Pillow itself is not needed."""

    def save(self, fp: Any, format: str | None = None) -> None: ...


class Pixels(Protocol):
    """What a numpy array can do; numpy itself is not needed."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def tobytes(self) -> bytes: ...


Image: TypeAlias = "str | os.PathLike[str] | bytes | Saveable | Pixels"


def image_url(image: Image, max_side: int | None = None) -> str:
    """http(s) and data URLs stay as they are; a path, bytes, a PIL image or an array becomes a data URL.

    An array is (height, width, 3) of uint8: red, green, blue. With `max_side`, an image that is longer or higher is
    made smaller before it is sent, which needs Pillow. Raises `UnsupportedImage` for what is not PNG, JPEG, WebP or
    GIF, or where there is nothing here to make smaller; `OSError` where a file cannot be read.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://", "data:")):
        if max_side is not None:
            raise UnsupportedImage(
                "only what is sent from here can be made smaller; give a path or bytes, not a URL"
            )
        return image
    data, name = _encoded(image)
    media_type = _media_type(data, name)
    if max_side is not None and (smaller := shrunk(data, max_side)) is not None:
        data, media_type = smaller
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _encoded(image: str | os.PathLike[str] | bytes | Saveable | Pixels) -> tuple[bytes, str]:
    """The bytes of an image file, and what to call it where it is none."""
    if isinstance(image, (str, os.PathLike)):
        return Path(image).read_bytes(), f"the file {os.fspath(image)!r}"
    if isinstance(image, bytes):
        return image, "what was given as bytes"
    if hasattr(image, "save"):
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return buffer.getvalue(), "what the image saved"
    if hasattr(image, "tobytes") and hasattr(image, "shape"):
        return _of_pixels(image), "the array"
    raise UnsupportedImage(
        f"an image is a path, a URL, bytes, a PIL image or an array, not {type(image).__name__!r}"
    )


def _of_pixels(pixels: Pixels) -> bytes:
    shape, kind = tuple(pixels.shape), str(pixels.dtype)
    if kind != "uint8" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise UnsupportedImage(
            f"an array of an image is (height, width, 3) of uint8, not {shape} of {kind}; of one with values from "
            "0 to 1, give (255 * array).astype('uint8')"
        )
    return png(pixels.tobytes(), width=shape[1], height=shape[0])


def _media_type(data: bytes, name: str) -> str:
    for media_type, signature in SIGNATURES.items():
        if re.match(signature, data, re.DOTALL):
            return media_type
    raise UnsupportedImage(f"{name} is no PNG, JPEG, WebP or GIF image; convert it to one of them")
