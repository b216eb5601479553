"""What copies of a picture have in common, in another size, format or compression. Knows nothing of what it shows."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image, ImageOps

from .images import open_image

ROWS, COLUMNS = 3, 4
STEP = 8
"""Grey levels of 255 by which neighbouring fields must differ, so that flat areas do not flicker."""


def look(encoded: bytes) -> str:
    """Where the picture grows lighter (+), darker (-) or neither (0) from field to field of a coarse grid.

    Most copies of a picture look the same, and now and then two pictures do that are none; so it serves to keep
    copies together, not to find them. Bytes that are no picture are like themselves alone.
    """
    try:
        with open_image(encoded) as image:
            image.draft("L", (64, 64))  # a large JPEG is decoded at a fraction of its size
            upright = ImageOps.exif_transpose(image).convert("L")
            grid = upright.resize((COLUMNS, ROWS), Image.Resampling.BOX)
    except Exception:  # decoders raise all kinds of things on damaged files
        return hashlib.sha256(encoded).hexdigest()
    steps = np.diff(np.asarray(grid, dtype=int), axis=1).flatten()  # (ROWS * (COLUMNS - 1),)
    return "".join("+" if step > STEP else "-" if step < -STEP else "0" for step in steps)
