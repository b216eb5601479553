"""Images that no longer show what an answer says, for the image contrast (mDPO, arXiv 2406.11839).

Knows pictures, but neither models nor answers.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Mapping

from .conversation import Conversation, Image, Message
from .rendering import decode_image

MAX_SHARE = 0.2
"""At most this much of a picture's area is kept, as in mDPO: what was named is mostly out of it."""


def corrupted(
    conversation: Conversation, images: Mapping[str, bytes]
) -> tuple[Conversation, dict[str, bytes]]:
    """The same words about a small random piece of each image, blown up to its whole size.

    The size stays, so a prompt keeps its number of tokens. An image always gives the same piece. Raises
    `InvalidImage`.
    """
    pieces = {sha256: _piece(sha256, images) for sha256 in conversation.image_ids}
    names = {sha256: hashlib.sha256(piece).hexdigest() for sha256, piece in pieces.items()}
    messages = tuple(
        Message(
            message.role,
            tuple(Image(names[part.sha256]) if isinstance(part, Image) else part for part in message.parts),
        )
        for message in conversation.messages
    )
    return Conversation(messages), {names[sha256]: piece for sha256, piece in pieces.items()}


def _piece(sha256: str, images: Mapping[str, bytes]) -> bytes:
    image = decode_image(sha256, images)
    rng = random.Random(sha256)
    scale = math.sqrt(rng.uniform(0, MAX_SHARE))
    width, height = (max(1, round(side * scale)) for side in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    piece = image.resize(image.size, box=(left, top, left + width, top + height))
    buffer = io.BytesIO()
    piece.save(buffer, "PNG")
    return buffer.getvalue()
