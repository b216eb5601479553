"""Corrections for tests: short answers about noise images, as a tiny model could have served them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tiny_models import png

from align.conversation import Conversation, Image, Message, Text
from align.examples import Example
from align.rendering import Renderer
from align.spans import apply_spans, diff_spans

ANSWERS = [
    ("There is a red cup and a dog.", "There is a green lamp and a dog."),
    ("Two boats stand on the table.", "One boat stands on the table."),
    ("The sun is yellow; a girl holds it.", "The sun is blue."),
    ("A girl holds three balloons 🙂.", "A girl holds two balloons 猫."),
    ("I see no dog.", "I see no dog, but a green lamp on the left."),
]


def corrections(base: Path, num: int, start: int = 0) -> list[Example]:
    """`num` corrected answers, each about its own image."""
    renderer = Renderer.from_pretrained(base)
    return [
        _example(renderer, number, *ANSWERS[number % len(ANSWERS)]) for number in range(start, start + num)
    ]


def accepted_answers(base: Path, num: int, start: int = 0) -> list[Example]:
    """Answers that nobody corrected."""
    renderer = Renderer.from_pretrained(base)
    texts = [ANSWERS[number % len(ANSWERS)][1] for number in range(start, start + num)]
    return [_example(renderer, start + number, text, text) for number, text in enumerate(texts)]


def _example(renderer: Renderer, number: int, served: str, corrected: str) -> Example:
    encoded = png(number)
    sha256 = hashlib.sha256(encoded).hexdigest()
    spans = tuple(diff_spans(served, corrected))
    assert apply_spans(served, spans) == corrected
    return Example(
        id=f"c{number:04}",
        conversation=Conversation((Message("user", (Image(sha256), Text("What is there?"))),)),
        images={sha256: encoded},
        served_text=served,
        served_token_ids=(*renderer.tokenizer.encode(served, add_special_tokens=False), 2),
        corrected_text=corrected,
        spans=spans,
    )
