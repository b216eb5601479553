"""What is stored about an answer as the plain value that trainer, gate and export see."""

from __future__ import annotations

from ..conversation import Conversation
from ..examples import Example
from .blobs import Blobs
from .corrections import Correction
from .responses import Response


def corrected_example(correction: Correction, response: Response, blobs: Blobs) -> Example:
    """Raises `NotFound`, `StateError` where an image is not, or not whole, in the store."""
    return _example(correction.id, response, correction.corrected_text, correction, blobs)


def uncorrected_example(response: Response, blobs: Blobs) -> Example:
    """Raises `NotFound`, `StateError` where an image is not, or not whole, in the store."""
    return _example(response.id, response, response.text, None, blobs)


def _example(
    example_id: str, response: Response, corrected_text: str, correction: Correction | None, blobs: Blobs
) -> Example:
    conversation = Conversation.from_json(response.conversation)
    return Example(
        id=example_id,
        conversation=conversation,
        images={digest: blobs.get_image(digest) for digest in set(conversation.image_ids)},
        served_text=response.text,
        served_token_ids=tuple(response.token_ids),
        corrected_text=corrected_text,
        spans=() if correction is None else correction.as_spans,
    )
