"""From the messages of a chat request to a conversation and its images' bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from align.conversation import Conversation, Image, Message, Text
from align.images import ImageLimits
from serve.errors import InvalidPrompt

from .images import read_images
from .schema import ChatMessage, ImagePart
from .schema.chat import Part


def read_conversation(
    messages: list[ChatMessage], fetched: Mapping[str, bytes], limits: ImageLimits
) -> tuple[Conversation, dict[str, bytes]]:
    """The conversation and each image's encoded bytes by SHA-256. `fetched` is by URL. Raises `InvalidPrompt`."""
    return _conversation(messages, read_images(image_urls(messages), fetched, limits))


def image_urls(messages: list[ChatMessage]) -> list[str]:
    """Raises `InvalidPrompt` where someone else than the user shows one."""
    urls: list[str] = []
    for message in messages:
        parts = [] if isinstance(message.content, str) else message.content
        found = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
        if found and message.role != "user":
            raise InvalidPrompt(f"only user messages may hold images, not {message.role} messages")
        urls += found
    return urls


def _conversation(
    messages: list[ChatMessage], images: Mapping[str, bytes]
) -> tuple[Conversation, dict[str, bytes]]:
    """`images` by URL; in the result by SHA-256."""
    digests = {url: hashlib.sha256(data).hexdigest() for url, data in images.items()}

    def read(part: Part) -> Text | Image:
        return Image(digests[part.image_url.url]) if isinstance(part, ImagePart) else Text(part.text)

    result = [
        Message(
            message.role,
            (Text(message.content),)
            if isinstance(message.content, str)
            else tuple(read(part) for part in message.content),
        )
        for message in messages
    ]
    return Conversation(tuple(result)), {digests[url]: data for url, data in images.items()}
