"""Two models whose answers never end by themselves, so that every answer has as many tokens as were asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from align.scenes import MODEL_PATH

from ..shapes import Width, random_llava

MODELS = ("embedded", "llava-150m")

WIDTH = Width(
    hidden_size=768,
    intermediate_size=2048,
    num_layers=12,
    num_heads=12,
    vision_hidden_size=384,
    vision_layers=12,
    vision_heads=6,
    image_size=224,
    patch_size=16,
)
"""About 150 million weights and 196 image tokens."""


def prepare(name: str, folder: Path) -> Path:
    """The folder of a model that every server reads by its `config.json`."""
    if name == "embedded":
        shutil.copytree(MODEL_PATH, folder)
    else:
        random_llava(folder, WIDTH)
        name_all_tokens(folder)
    _never_ends(folder)
    return folder


def name_all_tokens(folder: Path) -> None:
    """Random weights choose among all ids that the head has, and one without a word is an answer without text."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    vocab_size = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    tokenizer.add_tokens([f" word{number}" for number in range(len(tokenizer), vocab_size)])
    tokenizer.save_pretrained(folder)


def _never_ends(folder: Path) -> None:
    """Takes the image placeholder, which no answer holds, for the end of an answer."""
    config = json.loads((folder / "config.json").read_text())
    file = folder / "generation_config.json"
    generation = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**generation, "eos_token_id": config["image_token_index"]}))
