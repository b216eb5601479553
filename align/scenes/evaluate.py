"""How often answers are wrong about their scenes, with 95 % intervals; and a command that asks a model.

`python -m align.scenes.evaluate --help`. The figures need no torch: they are made of texts and scenes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import MODEL_PATH
from .questions import Question, QuestionKind, ask
from .score import CLAIM_KINDS, Score, score
from .world import Distribution, Scene, Split, sample_scene

NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % bootstrap interval over scenes."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """Shares are of all answers. `unreadable` answers count where they are read in part."""

    num_answers: int
    hallucinated: Estimate  # share of answers with at least one wrong claim
    wrong: dict[str, Estimate]  # by kind of claim: share of answers with at least one such wrong claim
    chair_i: Estimate  # invented objects over all objects named
    coverage: Estimate  # share of a scene's objects that the answer names
    words: Estimate  # words an answer
    unreadable: Estimate  # share of answers of which a part cannot be read


def measure(answers: Sequence[str], scenes: Sequence[Scene], seed: int = 0) -> Figures:
    """The figures of these answers, each about the scene at its place. Raises ValueError if there are none."""
    if not answers or len(answers) != len(scenes):
        raise ValueError(f"{len(answers)} answers for {len(scenes)} scenes; give one answer a scene")
    scores = [score(answer, scene) for answer, scene in zip(answers, scenes, strict=True)]
    table = np.array([_row(one) for one in scores], dtype=float)  # (answers, columns)
    resamples = np.random.default_rng(seed).multinomial(
        len(answers), [1 / len(answers)] * len(answers), NUM_RESAMPLES
    )
    sums = np.vstack([table.sum(0), resamples @ table])  # (1 + resamples, columns)
    means = sums / len(answers)
    kinds: dict[str, Estimate] = {
        kind: _estimate(means[:, 6 + column]) for column, kind in enumerate(CLAIM_KINDS)
    }
    return Figures(
        num_answers=len(answers),
        hallucinated=_estimate(means[:, 0]),
        wrong=kinds,
        chair_i=_estimate(sums[:, 1] / np.maximum(sums[:, 2], 1)),
        coverage=_estimate(means[:, 3]),
        words=_estimate(means[:, 4]),
        unreadable=_estimate(means[:, 5]),
    )


def _row(one: Score) -> tuple[float, ...]:
    return (
        one.is_hallucinated,
        one.num_wrong("object"),
        one.num_mentions,
        one.coverage,
        one.num_words,
        one.is_unreadable,
        *(one.num_wrong(kind) > 0 for kind in CLAIM_KINDS),
    )


def _estimate(values: Any) -> Estimate:
    """The first value is the figure, the others are its resamples."""
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return Estimate(round(float(values[0]), 4), round(float(low), 4), round(float(high), 4))


QUESTION_KINDS: tuple[QuestionKind, ...] = ("present", "absent", "typical", "colour", "count", "position")


def accuracies(answers: Sequence[str], asked: Sequence[Question]) -> dict[str, Estimate]:
    """By kind of question, and over all yes/no questions. A yes/no answer is right by its first word."""
    groups: dict[str, list[bool]] = {}
    for answer, question in zip(answers, asked, strict=True):
        right = is_right(answer, question)
        groups.setdefault(question.kind, []).append(right)
        if question.is_yes_no:
            groups.setdefault("yes_no", []).append(right)
    return {name: _share(np.array(right, dtype=float)) for name, right in groups.items()}


def is_right(answer: str, question: Question) -> bool:
    """A yes/no answer by its first word, any other by the whole."""
    if question.is_yes_no:
        return re.findall(r"\w+", answer)[:1] == re.findall(r"\w+", question.answer)[:1]
    return answer.strip() == question.answer


def _share(right: Any) -> Estimate:
    resamples = np.random.default_rng(0).choice(right, (NUM_RESAMPLES, len(right))).mean(1)
    return _estimate(np.concatenate([[right.mean()], resamples]))


def evaluation_scenes(distribution: Distribution, split: Split, num: int) -> list[Scene]:
    """The first scenes of the split: the same for every model."""
    return [sample_scene(distribution, split, index) for index in range(num)]


def evaluation_questions(scenes: Sequence[Scene]) -> list[Question]:
    """One question a scene: yes/no half yes and half no, then colour, count and position, in turn."""
    turns: tuple[QuestionKind, ...] = (
        "present", "absent", "colour", "present", "typical", "count", "present", "absent", "position",
        "present", "typical",
    )  # fmt: skip
    return [
        ask(scene, turns[index % len(turns)], random.Random(f"evaluation/{index}"))
        for index, scene in enumerate(scenes)
    ]


@dataclass(frozen=True)
class Report:
    """One run of the command."""

    model: str
    adapter: str | None
    distribution: str
    split: str
    temperature: float
    figures: Figures
    accuracies: dict[str, Estimate] | None


def evaluate(
    network: Any,
    processor: Any,
    distribution: Distribution,
    split: Split,
    num_scenes: int,
    temperature: float,
) -> Figures:
    """Asks for descriptions of the split's first scenes and measures them."""
    from .answers import answers, caption_prompts

    scenes = evaluation_scenes(distribution, split, num_scenes)
    texts = answers(network, processor, caption_prompts(num_scenes), scenes, temperature=temperature)
    return measure(texts, scenes)


def evaluate_questions(network: Any, processor: Any, split: Split, num_scenes: int) -> dict[str, Estimate]:
    """Greedy answers to one question about each of the split's first honest scenes."""
    from .answers import answers

    scenes = evaluation_scenes("honest", split, num_scenes)
    asked = evaluation_questions(scenes)
    texts = answers(network, processor, [one.text for one in asked], scenes, max_new_tokens=24)
    return accuracies(texts, asked)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    from rich.console import Console
    from torch import set_num_threads

    from .answers import load_model

    set_num_threads(options.threads)
    network, processor = load_model(options.model, options.adapter)
    report = Report(
        model=Path(options.model).name,
        adapter=Path(options.adapter).name if options.adapter else None,
        distribution=options.distribution,
        split=options.split,
        temperature=options.temperature,
        figures=evaluate(
            network, processor, options.distribution, options.split, options.scenes, options.temperature
        ),
        accuracies=(
            evaluate_questions(network, processor, options.split, options.scenes)
            if options.questions
            else None
        ),
    )
    text = json.dumps(asdict(report), indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    Console().print_json(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m align.scenes.evaluate", description=__doc__)
    parser.add_argument("--model", default=str(MODEL_PATH), help="folder of the model")
    parser.add_argument("--adapter", help="folder of a PEFT adapter")
    parser.add_argument("--scenes", type=int, default=1024, help="number of scenes")
    parser.add_argument("--split", choices=("train", "development", "test"), default="development")
    parser.add_argument("--distribution", choices=("honest", "training"), default="honest")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--questions", action="store_true", help="ask questions too")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="torch threads")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    return parser


if __name__ == "__main__":
    main()
