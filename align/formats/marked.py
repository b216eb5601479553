"""Conversations as turns of plain text, a marker in place of each picture, for formats that hold nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..conversation import Image, Message
from ..errors import UnfitRow
from ..examples import Example

IMAGE = "<image>"


@dataclass(frozen=True)
class MarkedTurns:
    """`turns` begin and end with the user and take turns with the assistant."""

    system: str | None
    turns: tuple[str, ...]


def marked_turns(example: Example, markers: Sequence[str]) -> MarkedTurns:
    """`markers` are all that the format replaces; of them `<image>` stands for a picture.

    Raises `UnfitRow` where words of a person or a model would be taken for a marker, or where roles do not
    alternate.
    """
    check_no_marker(example, markers)
    messages = list(example.conversation.messages)
    system = _text(messages.pop(0)) if messages and messages[0].role == "system" else None
    roles = [message.role for message in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise UnfitRow("its messages do not alternate between user and assistant, which this format needs")
    return MarkedTurns(system, tuple(_text(message) for message in messages))


def check_no_marker(example: Example, markers: Sequence[str]) -> None:
    """Raises `UnfitRow` where a text holds one of the words that a reader of the format replaces."""
    said = [_text(message, image="\0") for message in example.conversation.messages]
    for text in (*said, example.served_text, example.corrected_text):
        for marker in markers:
            if marker in text:
                raise UnfitRow(f"a text holds the word {marker}, which this format's readers replace")


def _text(message: Message, image: str = IMAGE) -> str:
    return "".join(image if isinstance(part, Image) else part.text for part in message.parts)
