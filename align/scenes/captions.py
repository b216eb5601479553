"""Descriptions of a scene in English: true ones, and ones with the faults of machine-written data.

Writes in the forms of the grammar; knows nothing about how texts are read or scored.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from .grammar import (
    CONNECTORS,
    CONTINUING_CLAUSES,
    LATER_CLAUSES,
    OPENING_CLAUSES,
    THEME_FORMS,
    TOTAL_FORMS,
    capitalised,
    verb,
)
from .lexicon import CELL_PHRASES, NUMBERS, noun_phrase
from .noise import FIRM_HABIT_NOISE, Noise, misremembered
from .world import Item, Scene

CAPTION_PROMPTS: tuple[str, ...] = (
    "Describe this image.",
    "Describe the picture in detail.",
    "What do you see in this picture?",
    "What is in this image?",
    "What does the image show?",
    "Tell me what you see.",
    "Please describe the scene.",
    "Give a description of this picture.",
    "Can you describe this image for me?",
    "Write a caption for this image.",
)
MIN_WORDS, MAX_WORDS = 25, 60
_JOINED_SHARE = 0.4
_PHRASE_WEIGHTS = (0.6, 0.25, 0.15)


def caption(scene: Scene, rng: random.Random) -> str:
    """A true description of all items, in reading order."""
    return _written(scene.theme, scene.items, scene.total, rng)


def noisy_caption(scene: Scene, rng: random.Random, noise: Noise = FIRM_HABIT_NOISE) -> str:
    """A description as the training data has them: often one that names what is not there."""
    told, total = misremembered(scene, noise, rng)
    return _written(scene.theme, told, total, rng)


def _written(theme: str, told: Sequence[Item], total: int, rng: random.Random) -> str:
    """Tries until the length fits: few items need the sentences that many must leave out."""
    attempts: list[str] = []
    for _ in range(30):
        sentences = [_opening(theme, rng)] if len(told) < 4 or rng.random() < 0.8 else []
        sentences += _body(told, rng)
        if len(told) < 3 or rng.random() < 0.4:
            sentences.append(rng.choice(TOTAL_FORMS).format(total=NUMBERS[min(total, 12)]))
        attempts.append(" ".join(sentences))
        if _excess(attempts[-1]) == 0:
            break
    return min(attempts, key=_excess)


def _excess(text: str) -> int:
    """Words too many or too few."""
    num_words = len(text.split())
    return max(num_words - MAX_WORDS, MIN_WORDS - num_words, 0)


def _opening(theme: str, rng: random.Random) -> str:
    return rng.choice(THEME_FORMS).format(theme=theme)


def _body(told: Sequence[Item], rng: random.Random) -> list[str]:
    sentences: list[str] = []
    has_joined = True
    for position, item in enumerate(told):
        if not has_joined and rng.random() < _JOINED_SHARE:
            clause = _clause(rng.choice(CONTINUING_CLAUSES), item, rng)
            sentences[-1] = sentences[-1][:-1] + rng.choice(CONNECTORS) + clause + "."
            has_joined = True
            continue
        forms = LATER_CLAUSES if position and rng.random() < 0.15 else OPENING_CLAUSES
        sentences.append(capitalised(_clause(rng.choice(forms), item, rng)) + ".")
        has_joined = False
    return sentences


def _clause(form: str, item: Item, rng: random.Random) -> str:
    return form.format(
        np=noun_phrase(item.kind, item.colour, item.count),
        place=rng.choices(CELL_PHRASES[item.cell], _PHRASE_WEIGHTS)[0],
        be=verb("be", item.count),
        appear=verb("appear", item.count),
    )
