"""From the messages of a chat request to a conversation and its images' bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool

from align.conversation import Conversation, Image, Message, Text
from align.images import ImageLimits
from serve.errors import InvalidPrompt

from .images import image_bytes, is_remote
from .remote_images import RemoteImageFetcher
from .schema import ChatMessage, ImagePart


async def read_conversation(
    messages: list[ChatMessage], limits: ImageLimits, fetcher: RemoteImageFetcher
) -> tuple[Conversation, dict[str, bytes]]:
    """The conversation and each image's encoded bytes by SHA-256. Raises `InvalidPrompt`."""
    if messages[-1].role != "user":
        raise InvalidPrompt("the last message must be the user's")
    urls = _image_urls(messages)
    if len(urls) > limits.max_per_request:  # before any of them is fetched or decoded
        raise InvalidPrompt(f"a request may hold {limits.max_per_request} images")
    fetched = await fetcher.fetch(dict.fromkeys(filter(is_remote, urls)))
    return await run_in_threadpool(_read, messages, limits, fetched)


def _image_urls(messages: list[ChatMessage]) -> list[str]:
    """Raises `InvalidPrompt` where someone else than the user shows one."""
    urls: list[str] = []
    for message in messages:
        parts = [] if isinstance(message.content, str) else message.content
        found = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
        if found and message.role != "user":
            raise InvalidPrompt(f"only user messages may hold images, not {message.role} messages")
        urls += found
    return urls


def _read(
    messages: list[ChatMessage], limits: ImageLimits, fetched: Mapping[str, bytes]
) -> tuple[Conversation, dict[str, bytes]]:
    images: dict[str, bytes] = {}
    result: list[Message] = []
    for message in messages:
        content = message.content
        parts: list[Text | Image] = []
        for part in [] if isinstance(content, str) else content:
            if isinstance(part, ImagePart):
                data = image_bytes(part.image_url.url, fetched, limits)
                digest = hashlib.sha256(data).hexdigest()
                images[digest] = data
                parts.append(Image(digest))
            else:
                parts.append(Text(part.text))
        result.append(Message(message.role, (Text(content),) if isinstance(content, str) else tuple(parts)))
    return Conversation(tuple(result)), images
