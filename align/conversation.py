"""What was said, as plain values: messages of text and images. Knows nothing about models or HTTP.

An image stands for itself by the SHA-256 of its bytes; the bytes travel beside the conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Image:
    sha256: str


@dataclass(frozen=True)
class Message:
    role: Role
    parts: tuple[Text | Image, ...]


@dataclass(frozen=True)
class Conversation:
    messages: tuple[Message, ...]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """SHA-256 of each image, in the order in which the model sees them, repeats kept."""
        return tuple(
            part.sha256 for message in self.messages for part in message.parts if isinstance(part, Image)
        )

    @property
    def group(self) -> str:
        """What it is about, the same for all questions about the same images: the images, or the words without any."""
        return ",".join(sorted(set(self.image_ids))) or repr(self)

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part.text}
                    if isinstance(part, Text)
                    else {"type": "image", "sha256": part.sha256}
                    for part in message.parts
                ],
            }
            for message in self.messages
        ]

    @classmethod
    def from_json(cls, messages: list[dict[str, Any]]) -> Conversation:
        return cls(
            tuple(
                Message(
                    message["role"],
                    tuple(
                        Text(part["text"]) if part["type"] == "text" else Image(part["sha256"])
                        for part in message["content"]
                    ),
                )
                for message in messages
            )
        )
