"""LLaMA-Factory's files: turns in sharegpt's form, a `dataset_info.json` that says so, pictures as files."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from typing import Any

from ..examples import Example
from .extras import extras
from .lines import Lines
from .marked import IMAGE, marked_turns
from .pictures import Pictures

MARKERS = (IMAGE, "<video>", "<audio>")
NAME = "errata"
"""Of the dataset: `dataset: errata`, with `dataset_dir` the exported folder."""


class LlamaFactoryFile:
    def __init__(self, folder: Path, has_images: bool) -> None:
        self._lines = Lines(folder / f"{NAME}.jsonl")
        self._pictures = Pictures(folder) if has_images else None
        (folder / "dataset_info.json").write_text(json.dumps(dataset_info(has_images), indent=2) + "\n")

    def write(self, example: Example) -> None:
        row = llama_factory_row(example)
        if self._pictures is not None:
            row["images"] = self._pictures.add(example.conversation, example.images)
        self._lines.write({**row, **extras(example)})

    def close(self) -> None:
        self._lines.close()


def dataset_info(has_images: bool) -> dict[str, Any]:
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    return {
        NAME: {
            "file_name": f"{NAME}.jsonl",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": columns | ({"images": "images"} if has_images else {}),
        }
    }


def llama_factory_row(example: Example) -> dict[str, Any]:
    """Raises `UnfitRow`."""
    marked = marked_turns(example, MARKERS)
    turns = [] if marked.system is None else [{"from": "system", "value": marked.system}]
    for speaker, text in zip(cycle(("human", "gpt")), marked.turns):
        turns.append({"from": speaker, "value": text})
    return {
        "conversations": turns,
        "chosen": {"from": "gpt", "value": example.corrected_text},
        "rejected": {"from": "gpt", "value": example.served_text},
    }
