"""OpenAI's preference files: messages as in a chat request, pictures as data URLs.

OpenAI itself trains on text alone (as of 2025); other readers of the format take pictures as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..conversation import Message, Text
from ..examples import Example
from ..images import encode_data_url
from .extras import extras
from .lines import Lines


class OpenAIFile:
    def __init__(self, folder: Path, has_images: bool) -> None:
        self._lines = Lines(folder / "errata.jsonl")

    def write(self, example: Example) -> None:
        self._lines.write({**openai_row(example), **extras(example)})

    def close(self) -> None:
        self._lines.close()


def openai_row(example: Example) -> dict[str, Any]:
    """Raises `InvalidImage`."""
    return {
        "input": {"messages": [_message(message, example) for message in example.conversation.messages]},
        "preferred_output": [{"role": "assistant", "content": example.corrected_text}],
        "non_preferred_output": [{"role": "assistant", "content": example.served_text}],
    }


def _message(message: Message, example: Example) -> dict[str, Any]:
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    if len(texts) == len(message.parts):
        return {"role": message.role, "content": "".join(texts)}
    content = [
        {"type": "text", "text": part.text}
        if isinstance(part, Text)
        else {"type": "image_url", "image_url": {"url": encode_data_url(example.images[part.sha256])}}
        for part in message.parts
    ]
    return {"role": message.role, "content": content}
