"""What a chat request asks, ready for the engine: images fetched, checked and decoded, the template applied."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

from align.conversation import Conversation
from align.errors import InvalidConversation, InvalidImage
from serve.engine.protocol import Engine, Prompt
from serve.errors import InvalidPrompt
from serve.settings import Settings

from .conversations import image_urls, read_conversation
from .images import is_remote
from .remote_images import RemoteImageFetcher
from .schema import ChatMessage


@dataclass(frozen=True)
class Asked:
    conversation: Conversation
    images: Mapping[str, bytes]
    """Encoded, by SHA-256."""
    prompt: Prompt


class PromptReader:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._limits = settings.images
        self._fetcher = RemoteImageFetcher(
            settings.remote_images, settings.images, max_total_bytes=settings.max_body_bytes
        )
        # Few at once, so that the first is with the engine while the next are read. All at once would all be late.
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "errata-prompt")
        self.num_reading = 0
        """Requests whose prompts are being read, or wait for that."""

    async def read(self, messages: list[ChatMessage]) -> Asked:
        """Raises `InvalidPrompt`."""
        self.num_reading += 1
        try:
            return await self._fetch_and_read(messages)
        finally:
            self.num_reading -= 1

    async def _fetch_and_read(self, messages: list[ChatMessage]) -> Asked:
        if messages[-1].role != "user":
            raise InvalidPrompt("the last message must be the user's")
        urls = image_urls(messages)
        if len(urls) > self._limits.max_per_request:  # before any of them is fetched or decoded
            raise InvalidPrompt(f"a request may hold {self._limits.max_per_request} images")
        fetched = await self._fetcher.fetch(dict.fromkeys(filter(is_remote, urls)))
        context = copy_context()  # what the log says meanwhile names the request
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, context.run, self._read, messages, fetched)

    def _read(self, messages: list[ChatMessage], fetched: Mapping[str, bytes]) -> Asked:
        conversation, images = read_conversation(messages, fetched, self._limits)
        try:
            return Asked(conversation, images, self._engine.prepare(conversation, images))
        except (InvalidConversation, InvalidImage) as error:
            raise InvalidPrompt(str(error)) from error
