"""Prompts are read a few at a time, so that the first of many is with the engine before the last is read."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping

from fake_engine import FakeEngine, FakePrompt

from align.conversation import Conversation
from serve.api.prompts import PromptReader
from serve.api.schema import ChatMessage
from serve.settings import Settings


class Counting(FakeEngine):
    """Holds each prompt until `num` were seen at once, or a moment has passed: more than the limit would show."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._now = self.most = 0

    def prepare(self, conversation: Conversation, images: Mapping[str, bytes]) -> FakePrompt:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        threading.Event().wait(0.02)
        with self._lock:
            self._now -= 1
        return super().prepare(conversation, images)


def test_many_prompts_at_once_are_read_a_few_at_a_time() -> None:
    engine = Counting()
    reader = PromptReader(engine, Settings())

    async def ask(number: int) -> str:
        asked = await reader.read([ChatMessage(role="user", content=f"question {number}")])
        return asked.conversation.messages[-1].parts[0].text

    async def ask_all() -> list[str]:
        return await asyncio.gather(*map(ask, range(30)))

    assert asyncio.run(ask_all()) == [f"question {number}" for number in range(30)]
    assert engine.most <= max(2, os.cpu_count() or 1)
