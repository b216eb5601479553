"""Images made smaller before they are sent, where that is asked for. The one place that uses Pillow."""

from __future__ import annotations

import io

from .errors import UnsupportedImage


def shrunk(data: bytes, max_side: int) -> tuple[bytes, str] | None:
    """The image with no side longer than `max_side`, and its media type; none where it is small enough as it is.

    A JPEG stays one, all else becomes PNG. Raises `ImportError` without Pillow, `UnsupportedImage` for a broken file.
    """
    if max_side < 1:
        raise ValueError(f"max_image_side is {max_side}; a side has at least 1 pixel")
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("max_image_side needs Pillow: pip install pillow, or leave it out") from error
    try:
        with Image.open(io.BytesIO(data)) as image:
            if max(image.size) <= max_side:
                return None
            name = "JPEG" if image.format == "JPEG" else "PNG"
            upright = ImageOps.exif_transpose(image)  # a new file does not say which side was up
            if upright.mode not in ("RGB", "RGBA", "L"):
                upright = upright.convert("RGB")
            upright.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            upright.save(buffer, name, quality=95)
    except (OSError, Image.DecompressionBombError) as error:
        raise UnsupportedImage(f"the image cannot be read, so it cannot be made smaller: {error}") from error
    return buffer.getvalue(), f"image/{name.lower()}"
