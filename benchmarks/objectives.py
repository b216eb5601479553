"""Which objective learns most from the same corrections, on the embedded world: `--help` says how.

Corrects sampled answers to fresh honest scenes, trains each objective on them with each seed, and measures greedy
answers to other honest scenes, paired with the base's on the same. Hallucination is never shown without coverage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForImageTextToText
from transformers.utils import logging

from align.config import ObjectiveConfig, TrainingConfig
from align.conversation import Conversation, Image, Message, Text
from align.examples import Example
from align.logprobs import join_tensors
from align.rendering import Rendered, Renderer
from align.scenes import MODEL_PATH
from align.scenes.annotator import annotate
from align.scenes.captions import CAPTION_PROMPTS
from align.scenes.draw import png_bytes
from align.scenes.evaluate import accuracies, evaluation_questions
from align.scenes.score import score
from align.scenes.world import Scene, Split, sample_scene
from align.spans import apply_spans
from align.training import train

FRESH = 5_000_000
"""Training scenes from here on are in no pretraining run."""
MAX_NEW_TOKENS = 96
BATCH_SIZE = 128
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
    "SFT on corrected answers": with_objective(beta=1e-6),  # the preference term vanishes
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
    corrections = simulated_corrections(options.model, options.corrections)
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
        _ratio(answers.table[:, 0], base.table[:, 0]),
        _ratio(answers.table[:, 1], base.table[:, 1]),
        float(answers.table[:, 2].mean()),
        float(answers.table[:, 3].mean()),
        answers.yes_no_accuracy,
    )


def simulated_corrections(model: str, num: int) -> list[Example]:
    """Answers sampled at T = 0.7 about fresh honest scenes, with the simulated annotator's spans."""
    renderer, network = Renderer.from_pretrained(model), _load(model, None)
    corrections: list[Example] = []
    start = FRESH
    while len(corrections) < num:
        scenes = [sample_scene("honest", "train", index) for index in range(start, start + BATCH_SIZE)]
        start += BATCH_SIZE
        asked = _asked(scenes, _prompts(len(scenes)))
        rendered = [renderer.render(conversation, images) for conversation, images in asked]
        sampled = _generate(network, renderer, rendered, temperature=0.7, seed=start)
        for (conversation, images), scene, token_ids in zip(asked, scenes, sampled, strict=True):
            text = renderer.tokenizer.decode(token_ids, skip_special_tokens=True)
            if spans := annotate(text, scene):
                corrected = apply_spans(text, spans)
                name = str(len(corrections))
                corrections.append(
                    Example(name, conversation, images, text, token_ids, corrected, tuple(spans))
                )
    return corrections[:num]


def answers_of(model: str, adapter: Path | None, scenes: Sequence[Scene]) -> Answers:
    renderer, network = Renderer.from_pretrained(model), _load(model, adapter)
    texts = _greedy(network, renderer, scenes, _prompts(len(scenes)))
    scores = [score(text, scene) for text, scene in zip(texts, scenes, strict=True)]
    table = np.array([(s.is_hallucinated, s.coverage, s.is_unreadable, s.num_words) for s in scores], float)
    questions = evaluation_questions(scenes)
    replies = _greedy(network, renderer, scenes, [question.text for question in questions])
    return Answers(table, accuracies(replies, questions)["yes_no"].value)


def _greedy(network: Any, renderer: Renderer, scenes: Sequence[Scene], prompts: Sequence[str]) -> list[str]:
    rendered = [renderer.render(conversation, images) for conversation, images in _asked(scenes, prompts)]
    said = _generate(network, renderer, rendered)
    return [renderer.tokenizer.decode(token_ids, skip_special_tokens=True) for token_ids in said]


def _prompts(num: int) -> list[str]:
    return [CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)] for index in range(num)]


def _asked(scenes: Sequence[Scene], prompts: Sequence[str]) -> list[tuple[Conversation, dict[str, bytes]]]:
    asked = []
    for scene, prompt in zip(scenes, prompts, strict=True):
        encoded = png_bytes(scene)
        sha256 = hashlib.sha256(encoded).hexdigest()
        asked.append((Conversation((Message("user", (Image(sha256), Text(prompt))),)), {sha256: encoded}))
    return asked


def _generate(
    network: Any, renderer: Renderer, prompts: Sequence[Rendered], temperature: float = 0.0, seed: int = 0
) -> list[tuple[int, ...]]:
    """One answer a prompt, up to its end-of-sequence id. Temperature 0 is greedy."""
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(seed)
    results: dict[int, tuple[int, ...]] = {}
    for part in _batches_of_one_length(prompts):
        input_ids = torch.tensor([prompts[index].input_ids for index in part])
        with torch.inference_mode():
            output = network.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                **join_tensors([prompts[index] for index in part], input_ids.shape[1]),
                **sampling,
                max_new_tokens=MAX_NEW_TOKENS,
                pad_token_id=renderer.eos_token_ids[0],
            )
        for index, row in zip(part, output[:, input_ids.shape[1] :].tolist(), strict=True):
            ends = [place for place, token in enumerate(row) if token in renderer.eos_token_ids]
            results[index] = tuple(row[: ends[0] + 1] if ends else row)
    return [results[index] for index in range(len(prompts))]


def _batches_of_one_length(prompts: Sequence[Rendered]) -> Iterator[list[int]]:
    lengths = {prompt.num_tokens for prompt in prompts}
    for length in sorted(lengths):
        same = [index for index, prompt in enumerate(prompts) if prompt.num_tokens == length]
        for start in range(0, len(same), BATCH_SIZE):
            yield same[start : start + BATCH_SIZE]


def _load(model: str, adapter: Path | None) -> Any:
    network = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    if adapter is not None:
        network = PeftModel.from_pretrained(network, str(adapter)).merge_and_unload()
    return network.eval()


def _ratio(values: np.ndarray, of_base: np.ndarray) -> tuple[float, float, float]:
    num = len(values)
    draws = np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), 2000)
    low, high = np.quantile((draws @ values) / (draws @ of_base), (0.025, 0.975))
    return round(values.sum() / of_base.sum(), 4), round(float(low), 4), round(float(high), 4)


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
