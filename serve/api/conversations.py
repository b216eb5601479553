"""From the messages of a chat request to a conversation and its images' bytes."""

from __future__ import annotations

import hashlib

from align.conversation import Conversation, Image, Message, Text
from align.images import ImageLimits
from serve.errors import InvalidPrompt

from .images import image_bytes
from .schema import ChatMessage, ImagePart


def read_conversation(
    messages: list[ChatMessage], limits: ImageLimits
) -> tuple[Conversation, dict[str, bytes]]:
    """The conversation and each image's encoded bytes by SHA-256. Raises `InvalidPrompt`."""
    if messages[-1].role != "user":
        raise InvalidPrompt("the last message must be the user's")
    if _num_images(messages) > limits.max_per_request:  # before any of them is decoded
        raise InvalidPrompt(f"a request may hold {limits.max_per_request} images")
    images: dict[str, bytes] = {}
    result: list[Message] = []
    for message in messages:
        content = message.content
        parts: list[Text | Image] = []
        for part in [] if isinstance(content, str) else content:
            if isinstance(part, ImagePart):
                if message.role != "user":
                    raise InvalidPrompt(f"only user messages may hold images, not {message.role} messages")
                data = image_bytes(part.image_url.url, limits)
                digest = hashlib.sha256(data).hexdigest()
                images[digest] = data
                parts.append(Image(digest))
            else:
                parts.append(Text(part.text))
        result.append(Message(message.role, (Text(content),) if isinstance(content, str) else tuple(parts)))
    return Conversation(tuple(result)), images


def _num_images(messages: list[ChatMessage]) -> int:
    parts = [part for message in messages if not isinstance(message.content, str) for part in message.content]
    return sum(isinstance(part, ImagePart) for part in parts)
