"""Where commands write: results on standard output, with `--json` one document, and then all else on standard error."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai import BaseModel

console = Console()
aside = Console(stderr=True)


def speaker(as_json: bool) -> Console:
    """For what is said on the way to the result."""
    return aside if as_json else console


def without_progress_bars() -> None:
    """Of models that are loaded; asked before anything imports transformers, which looks once."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def print_json(value: Any) -> None:
    console.print_json(json.dumps(value, ensure_ascii=False))


def print_answer(answer: BaseModel) -> None:
    """What the server answered, as it did."""
    print_json(answer.model_dump(mode="json"))


def print_list(answers: Sequence[BaseModel]) -> None:
    print_json({"object": "list", "data": [answer.model_dump(mode="json") for answer in answers]})
