"""A correction as the trainer and the gate see it: plain values, no database, no tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .conversation import Conversation
from .spans import Span


@dataclass(frozen=True)
class Example:
    """One served answer and what a person made of it.

    `served_token_ids` are the ids that were really sampled, the end-of-sequence id included where the answer
    ended by itself. An answer that nobody corrected has no spans and `corrected_text == served_text`.
    `images` maps SHA-256 to the encoded bytes of each image of the conversation.
    """

    id: str
    conversation: Conversation
    images: Mapping[str, bytes]
    served_text: str
    served_token_ids: tuple[int, ...]
    corrected_text: str
    spans: tuple[Span, ...]

    @property
    def group(self) -> str:
        """What must never be on both sides of a split: the images, or the words where there are none."""
        return ",".join(sorted(set(self.conversation.image_ids))) or repr(self.conversation)
