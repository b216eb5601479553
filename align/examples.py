"""A correction as the trainer and the gate see it: plain values, no database, no tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from .conversation import Conversation
from .likeness import look
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

    @cached_property
    def looks(self) -> frozenset[str]:
        """What must never be on both sides of a split: how each image looks, or the words where there are none."""
        return frozenset(map(look, self.images.values())) or self.parts

    @property
    def parts(self) -> frozenset[str]:
        """Each image by its SHA-256, or the words where there are none."""
        return frozenset(self.conversation.image_ids) or frozenset([self.conversation.group])

    @property
    def group(self) -> str:
        """What examples have in common that are about the same."""
        return self.conversation.group

    def to_json(self) -> dict[str, Any]:
        """All but the bytes of the images, which are named by their SHA-256."""
        return {
            "id": self.id,
            "conversation": self.conversation.to_json(),
            "images": sorted(self.images),
            "served_text": self.served_text,
            "served_token_ids": list(self.served_token_ids),
            "corrected_text": self.corrected_text,
            "spans": [asdict(span) for span in self.spans],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any], image: Callable[[str], bytes]) -> Example:
        """`image` gives the bytes for a SHA-256."""
        return cls(
            id=record["id"],
            conversation=Conversation.from_json(record["conversation"]),
            images={sha256: image(sha256) for sha256 in record["images"]},
            served_text=record["served_text"],
            served_token_ids=tuple(record["served_token_ids"]),
            corrected_text=record["corrected_text"],
            spans=tuple(Span(**span) for span in record["spans"]),
        )
