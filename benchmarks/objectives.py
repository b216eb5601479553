"""Which objective learns most from the same corrections, on the embedded world: `--help` says how.

Corrects sampled answers to fresh honest scenes, trains each objective on them with each seed, and measures greedy
answers to other honest scenes, paired with the base's on the same. Hallucination is never shown without coverage.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from align.config import ObjectiveConfig, TrainingConfig
from align.examples import Example
from align.scenes import MODEL_PATH
from align.scenes.answers import caption_prompts
from align.scenes.evaluate import accuracies, evaluation_questions
from align.scenes.score import score
from align.scenes.world import Scene, Split, sample_scene
from align.training import train

from .scenes import Speaker, ratio, simulated_corrections

DEFAULT = TrainingConfig()


def with_objective(learning_rate: float = DEFAULT.learning_rate, **changes: Any) -> TrainingConfig:
    objective = ObjectiveConfig.model_validate(DEFAULT.objective.model_dump() | changes)
    return DEFAULT.model_copy(update={"objective": objective, "learning_rate": learning_rate})


OBJECTIVES = {
    "dense DPO with anchor (default)": DEFAULT,
    "same, gamma 1": with_objective(gamma=1.0),
    "same, beta .1, rate 5e-4, batches of 8": with_objective(5e-4, beta=0.1).model_copy(
        update={"batch_size": 8}
    ),
    "same, ten times the rate": with_objective(10 * DEFAULT.learning_rate),
    "dense DPO, no anchor": with_objective(anchor_weight=0.0),
    "no anchor, ten times the rate": with_objective(10 * DEFAULT.learning_rate, anchor_weight=0.0),
    "DPO (sums, gamma 1, beta .1)": with_objective(beta=0.1, gamma=1.0, normalize=False, anchor_weight=0.0),
    "SFT on corrected answers": with_objective(preference_weight=0.0),
}


@dataclass(frozen=True)
class Outcome:
    """Greedy answers to the same scenes; shares, and ratios to the base's with 95 % intervals over scenes."""

    objective: str
    seed: int
    num_corrections: int
    training_s: float
    hallucinated: float
    hallucinated_ratio: tuple[float, float, float]  # estimate, low, high
    coverage_ratio: tuple[float, float, float]
    unreadable: float
    words: float
    yes_no_accuracy: float


@dataclass(frozen=True)
class Answers:
    """What one model says: (scenes, 4) of hallucinated, coverage, unreadable, words; and its yes/no accuracy."""

    table: np.ndarray
    yes_no_accuracy: float


def main() -> None:
    options = _parser().parse_args()
    if options.quick:
        options.corrections, options.scenes, options.seeds = 48, 64, 1
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    console = Console(stderr=True)
    corrections = [example for example, _ in simulated_corrections(options.model, options.corrections)]
    scenes = [sample_scene("honest", options.split, index) for index in range(options.scenes)]
    base = answers_of(options.model, None, scenes)
    console.print(f"base: {base.table.mean(0).round(4).tolist()}, yes/no {base.yes_no_accuracy:.3f}")
    outcomes = []
    for name, config in OBJECTIVES.items():
        for seed in range(options.seeds):
            run = config.model_copy(update={"seed": seed})
            outcomes.append(outcome(options.model, name, run, corrections, scenes, base))
            console.print(outcomes[-1])
    Console().print(_table(outcomes))
    if options.json:
        report = {"base": base.table.mean(0).tolist(), "outcomes": [asdict(one) for one in outcomes]}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def outcome(
    model: str,
    name: str,
    config: TrainingConfig,
    corrections: Sequence[Example],
    scenes: Sequence[Scene],
    base: Answers,
) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        train(model, corrections, config, Path(folder) / "adapter")
        training_s = time.monotonic() - started
        answers = answers_of(model, Path(folder) / "adapter", scenes)
    return Outcome(
        name,
        config.seed,
        len(corrections),
        round(training_s, 1),
        float(answers.table[:, 0].mean()),
        ratio(answers.table[:, 0], base.table[:, 0]),
        ratio(answers.table[:, 1], base.table[:, 1]),
        float(answers.table[:, 2].mean()),
        float(answers.table[:, 3].mean()),
        answers.yes_no_accuracy,
    )


def answers_of(model: str, adapter: Path | None, scenes: Sequence[Scene]) -> Answers:
    speaker = Speaker(model, adapter)
    texts = speaker.greedy(scenes, caption_prompts(len(scenes)))
    scores = [score(text, scene) for text, scene in zip(texts, scenes, strict=True)]
    table = np.array([(s.is_hallucinated, s.coverage, s.is_unreadable, s.num_words) for s in scores], float)
    questions = evaluation_questions(scenes)
    replies = speaker.greedy(scenes, [question.text for question in questions])
    return Answers(table, accuracies(replies, questions)["yes_no"].value)


def _table(outcomes: Sequence[Outcome]) -> Table:
    headings = (
        "objective",
        "seed",
        "hallucinated",
        "of base",
        "coverage of base",
        "unreadable",
        "yes/no",
        "s",
    )
    table = Table(*headings)
    for one in outcomes:
        table.add_row(
            one.objective,
            str(one.seed),
            f"{one.hallucinated:.1%}",
            "{:.0%} [{:.0%}, {:.0%}]".format(*one.hallucinated_ratio),
            "{:.1%} [{:.1%}, {:.1%}]".format(*one.coverage_ratio),
            f"{one.unreadable:.1%}",
            f"{one.yes_no_accuracy:.1%}",
            f"{one.training_s:.0f}",
        )
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(MODEL_PATH), help="folder of the model")
    parser.add_argument("--corrections", type=int, default=320)
    parser.add_argument("--scenes", type=int, default=1024, help="scenes to measure on")
    splits: tuple[Split, ...] = ("development", "test")
    parser.add_argument("--split", choices=splits, default="development")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the outcomes to this file")
    parser.add_argument(
        "--quick", action="store_true", help="a look at few scenes: far too small to decide on"
    )
    return parser


if __name__ == "__main__":
    main()
