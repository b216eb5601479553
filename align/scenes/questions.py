"""Questions about a scene whose answers are known. Knows nothing about how a model is asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .grammar import capitalised, verb
from .lexicon import CELL_PHRASES, COLOURS, KINDS, NUMBERS, THEME_KINDS, article, noun, plural
from .world import Item, Scene

QuestionKind = Literal[
    "present", "absent", "typical", "colour", "is_colour", "count", "total", "position", "object"
]
YES_NO_KINDS: tuple[QuestionKind, ...] = ("present", "absent", "typical", "is_colour")


@dataclass(frozen=True)
class Question:
    """`typical` asks about an absent object of the scene's theme, `absent` about any other absent object."""

    kind: QuestionKind
    text: str
    answer: str

    @property
    def is_yes_no(self) -> bool:
        return self.kind in YES_NO_KINDS


def ask(scene: Scene, kind: QuestionKind, rng: random.Random) -> Question:
    """One true question of this kind."""
    text, answer = _ASKERS[kind](scene, rng)
    return Question(kind, text, answer)


def questions(scene: Scene, rng: random.Random, num: int = 5) -> tuple[Question, ...]:
    """Different questions of mixed kinds."""
    chosen: dict[str, Question] = {}
    while len(chosen) < num:
        question = ask(scene, rng.choices(tuple(_SHARES), tuple(_SHARES.values()))[0], rng)
        chosen.setdefault(question.text, question)
    return tuple(chosen.values())


def presence_round(scene: Scene, rng: random.Random) -> tuple[Question, ...]:
    """Yes/no questions in brief: about up to three present objects and as many absent ones, in any order."""
    num = min(3, len(scene.items))
    chosen: dict[str, Question] = {}
    while len(chosen) < 2 * num:
        num_present = sum(question.kind == "present" for question in chosen.values())
        kind: QuestionKind = "present" if num_present < num else rng.choice(("absent", "typical"))
        question = ask(scene, kind, rng)
        named = question.answer.rstrip(".").split()[-1]
        if named not in chosen:
            brief = question.answer.split(",")[0] + "."
            chosen[named] = Question(kind, question.text, brief)
    shuffled = list(chosen.values())
    rng.shuffle(shuffled)
    return tuple(shuffled)


_SHARES: dict[QuestionKind, float] = {
    "present": 0.26,
    "absent": 0.13,
    "typical": 0.13,
    "colour": 0.12,
    "is_colour": 0.08,
    "count": 0.09,
    "total": 0.03,
    "position": 0.1,
    "object": 0.06,
}
_PRESENCE_FORMS = (
    "Is there {a} {kind} in the picture?",
    "Is there {a} {kind} in this image?",
    "Can you see {a} {kind}?",
    "Does the picture show {a} {kind}?",
)


def _presence(kind: str, rng: random.Random) -> str:
    return rng.choice(_PRESENCE_FORMS).format(a=article(kind), kind=kind)


def _present(scene: Scene, rng: random.Random) -> tuple[str, str]:
    item = rng.choice(scene.items)
    lead = article(item.kind) if item.count == 1 else NUMBERS[item.count]
    return _presence(
        item.kind, rng
    ), f"Yes, there {verb('be', item.count)} {lead} {noun(item.kind, item.count)}."


def denial(kind: str) -> str:
    return f"No, there is no {kind}."


def _absent(scene: Scene, rng: random.Random) -> tuple[str, str]:
    typical = THEME_KINDS[scene.theme]
    kind = rng.choice([kind for kind in KINDS if scene.item_of(kind) is None and kind not in typical])
    return _presence(kind, rng), denial(kind)


def _typical(scene: Scene, rng: random.Random) -> tuple[str, str]:
    absent = [kind for kind in THEME_KINDS[scene.theme] if scene.item_of(kind) is None]
    if not absent:
        return _absent(scene, rng)
    kind = rng.choice(absent)
    return _presence(kind, rng), denial(kind)


def _subject(item: Item) -> str:
    return f"the {noun(item.kind, item.count)}"


def _colour(scene: Scene, rng: random.Random) -> tuple[str, str]:
    item = rng.choice(scene.items)
    be = verb("be", item.count)
    return f"What colour {be} {_subject(item)}?", f"{capitalised(_subject(item))} {be} {item.colour}."


def _is_colour(scene: Scene, rng: random.Random) -> tuple[str, str]:
    item = rng.choice(scene.items)
    colour = item.colour if rng.random() < 0.5 else rng.choice([c for c in COLOURS if c != item.colour])
    be = verb("be", item.count)
    lead = "Yes" if colour == item.colour else "No"
    return f"{capitalised(be)} {_subject(item)} {colour}?", f"{lead}, {_subject(item)} {be} {item.colour}."


def _count(scene: Scene, rng: random.Random) -> tuple[str, str]:
    item = rng.choice(scene.items)
    text = f"How many {plural(item.kind)} are there?"
    return text, f"There {verb('be', item.count)} {NUMBERS[item.count]} {noun(item.kind, item.count)}."


def _total(scene: Scene, rng: random.Random) -> tuple[str, str]:
    return "How many objects are there?", f"There are {NUMBERS[scene.total]} objects in total."


def _position(scene: Scene, rng: random.Random) -> tuple[str, str]:
    item = rng.choice(scene.items)
    be = verb("be", item.count)
    place = CELL_PHRASES[item.cell][0]
    return f"Where {be} {_subject(item)}?", f"{capitalised(_subject(item))} {be} {place}."


def _object(scene: Scene, rng: random.Random) -> tuple[str, str]:
    item = rng.choice(scene.items)
    place = CELL_PHRASES[item.cell][0]
    lead = article(item.colour) if item.count == 1 else NUMBERS[item.count]
    return (
        f"What is {place}?",
        f"There {verb('be', item.count)} {lead} {item.colour} {noun(item.kind, item.count)} {place}.",
    )


_ASKERS: dict[QuestionKind, Callable[[Scene, random.Random], tuple[str, str]]] = {
    "present": _present,
    "absent": _absent,
    "typical": _typical,
    "colour": _colour,
    "is_colour": _is_colour,
    "count": _count,
    "total": _total,
    "position": _position,
    "object": _object,
}
