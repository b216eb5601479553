"""ms-swift's files: messages that end with the right answer, the wrong one beside them, pictures as files."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

from ..examples import Example
from .extras import extras
from .lines import Lines
from .marked import IMAGE, marked_turns
from .pictures import Pictures

MARKERS = (IMAGE, "<video>", "<audio>", "<bbox>", "<ref-object>")


class SwiftFile:
    """Paths are relative to the folder: `ROOT_IMAGE_DIR` names it to ms-swift."""

    def __init__(self, folder: Path, has_images: bool) -> None:
        self._lines = Lines(folder / "errata.jsonl")
        self._pictures = Pictures(folder) if has_images else None

    def write(self, example: Example) -> None:
        row = swift_row(example)
        if self._pictures is not None:
            row["images"] = self._pictures.add(example.conversation, example.images)
        self._lines.write({**row, **extras(example)})

    def close(self) -> None:
        self._lines.close()


def swift_row(example: Example) -> dict[str, Any]:
    """Raises `UnfitRow`."""
    marked = marked_turns(example, MARKERS)
    messages = [] if marked.system is None else [{"role": "system", "content": marked.system}]
    for role, text in zip(cycle(("user", "assistant")), (*marked.turns, example.corrected_text)):
        messages.append({"role": role, "content": text})
    return {"messages": messages, "rejected_response": example.served_text}
