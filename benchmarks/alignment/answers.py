"""What one model says about the scenes of a split, as counts a scene: all that the figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from align.rendering import Rendered, Renderer
from align.scenes.answers import caption_prompts
from align.scenes.claims import read
from align.scenes.evaluate import evaluation_questions, evaluation_scenes, is_right
from align.scenes.lexicon import KINDS, THEME_KINDS
from align.scenes.questions import Question
from align.scenes.score import CLAIM_KINDS, judge, score
from align.scenes.world import Scene, Split

from ..scenes import Speaker, asked

COLUMNS = (
    *CLAIM_KINDS,  # wrong claims of each kind
    "covered", "objects",  # things of the scene that are named; that there are
    "mentions", "words", "unreadable",
    "invented_typical", "absent_typical",  # kinds that belong to the theme and are not there: named; all
    "invented_elsewhere", "absent_elsewhere",  # the same for kinds that do not belong to it
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """Greedy answers of one model, one description and one question a scene."""

    counts: np.ndarray  # (scenes, columns) as COLUMNS says
    is_yes_no: np.ndarray  # (scenes,) bool: whether its question is one
    is_right: np.ndarray  # (scenes,) bool: whether the question was answered rightly


def answers_of(model: str, adapter: Path | None, split: Split, num_scenes: int) -> Answers:
    """Ask `model`, with the adapter if there is one, about the first honest scenes of the split."""
    speaker = Speaker(model, adapter)
    scenes, questions, of_captions, of_questions = _asked(model, split, num_scenes)
    captions = [speaker.text(token_ids) for token_ids in speaker.generate(of_captions)]
    replies = [speaker.text(token_ids) for token_ids in speaker.generate(of_questions)]
    rows = [counts(text, scene) for text, scene in zip(captions, scenes, strict=True)]
    return Answers(
        np.array(rows, dtype=np.int16),
        np.array([question.is_yes_no for question in questions]),
        np.array([is_right(reply, question) for reply, question in zip(replies, questions, strict=True)]),
    )


def counts(text: str, scene: Scene) -> tuple[int, ...]:
    """One row of `Answers.counts`."""
    result = score(text, scene)
    absent = [kind for kind in KINDS if scene.item_of(kind) is None]
    typical = [kind for kind in absent if kind in THEME_KINDS[scene.theme]]
    named = {one.clause.kind for one in judge(read(text), scene)}
    return (
        *(result.num_wrong(kind) for kind in CLAIM_KINDS),
        result.num_covered,
        result.num_objects,
        result.num_mentions,
        result.num_words,
        result.is_unreadable,
        len(named.intersection(typical)),
        len(typical),
        len(named.intersection(absent) - set(typical)),
        len(absent) - len(typical),
    )


@cache
def _asked(
    model: str, split: Split, num_scenes: int
) -> tuple[Sequence[Scene], Sequence[Question], Sequence[Rendered], Sequence[Rendered]]:
    """Scenes and questions, and what is asked about each, made ready once for all models."""
    scenes = evaluation_scenes("honest", split, num_scenes)
    questions = evaluation_questions(scenes)
    renderer = Renderer.from_pretrained(model)
    prompts = caption_prompts(num_scenes), [question.text for question in questions]
    of_captions, of_questions = (
        [renderer.render(*asked(scene, prompt)) for scene, prompt in zip(scenes, texts, strict=True)]
        for texts in prompts
    )
    return scenes, questions, of_captions, of_questions
