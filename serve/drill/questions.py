"""What the drill asks: scenes with prompts, few enough that every version's answers are known beforehand."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from align.conversation import Conversation, Image, Message, Text
from align.scenes.captions import CAPTION_PROMPTS
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene


@dataclass(frozen=True)
class Question:
    prompt: str
    png: bytes

    @property
    def conversation(self) -> Conversation:
        return Conversation((Message("user", (Image(self._digest), Text(self.prompt))),))

    @property
    def images(self) -> Mapping[str, bytes]:
        return {self._digest: self.png}

    def body(self, model: str, max_tokens: int) -> dict[str, Any]:
        """The same question as a chat completion: greedy, streamed."""
        url = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": self.prompt}]
        return {
            "model": model,
            "messages": [{"role": "user", "content": parts}],
            "temperature": 0,
            "max_tokens": max_tokens,
            "stream": True,
        }

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.png).hexdigest()


def questions(count: int) -> list[Question]:
    return [question(index) for index in range(count)]


def question(index: int) -> Question:
    return Question(
        CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)], png_bytes(sample_scene("honest", "test", index))
    )
