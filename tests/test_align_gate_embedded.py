"""Real adapters of the embedded model before the gate: one that learned, one that learned the wrong way round, and one
that learned to say less.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from transformers.utils import logging

from align.config import AlignmentConfig, TrainingConfig
from align.examples import Example
from align.gate import Measurements, decide
from align.gate.measurement import measure
from align.gate.null import without_effect
from align.rendering import Renderer
from align.scenes import MODEL_PATH
from align.spans import diff_spans
from align.training import train
from benchmarks.scenes import accepted_answers, simulated_corrections

CONFIG = AlignmentConfig()


@pytest.fixture(scope="module")
def corrections() -> list[Example]:
    logging.disable_progress_bar()
    return [example for example, _ in simulated_corrections(str(MODEL_PATH), 120)]


@pytest.fixture(scope="module")
def general() -> list[Example]:
    return accepted_answers(str(MODEL_PATH), 40)


def measured(
    lessons: list[Example],
    corrections: list[Example],
    general: list[Example],
    folder: Path,
    training: TrainingConfig = CONFIG.training,
) -> Measurements:
    """An adapter that learned the lessons, on corrections that it never saw."""
    train(MODEL_PATH, lessons, training, folder / "adapter")
    return measure(MODEL_PATH, None, folder / "adapter", corrections[80:], general, CONFIG)


@pytest.fixture(scope="module")
def learned(
    corrections: list[Example], general: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> Measurements:
    return measured(corrections[:80], corrections, general, tmp_path_factory.mktemp("learned"))


def test_an_adapter_that_learned_is_admitted_and_found_to_hallucinate_less(learned: Measurements) -> None:
    verdict = decide(learned, CONFIG.gate)
    assert verdict.decision == "admitted", verdict.reasons
    assert verdict.comparisons["truth.wrong"].num_images == 80, "every picture says what it shows"
    assert verdict.comparisons["truth.wrong"].change.estimate < 0
    assert 0 < verdict.comparisons["general.divergence"].candidate < 0.1


def test_candidates_without_effect_are_hardly_ever_admitted(learned: Measurements) -> None:
    quick = CONFIG.gate.model_copy(update={"num_resamples": 300})
    decisions = Counter(decide(without_effect(learned, seed), quick).decision for seed in range(200))
    assert decisions["admitted"] <= 10
    assert decisions.total() == 200


def turned_round(example: Example, renderer: Renderer) -> Example:
    """As if a person had put the mistake in."""
    token_ids = renderer.tokenizer.encode(example.corrected_text, add_special_tokens=False)
    return replace(
        example,
        served_text=example.corrected_text,
        served_token_ids=(*token_ids, renderer.eos_token_ids[0]),
        corrected_text=example.served_text,
        spans=tuple(diff_spans(example.corrected_text, example.served_text)),
    )


def cut_short(example: Example) -> Example:
    """As if a person had struck out all but the first sentence."""
    first = example.served_text.split(". ")[0] + "."
    return replace(example, corrected_text=first, spans=tuple(diff_spans(example.served_text, first)))


def test_an_adapter_that_learned_the_wrong_way_round_is_refused_as_worse(
    corrections: list[Example], general: list[Example], tmp_path: Path
) -> None:
    renderer = Renderer.from_pretrained(MODEL_PATH)
    lessons = [turned_round(example, renderer) for example in corrections[:80]]
    verdict = decide(measured(lessons, corrections, general, tmp_path), CONFIG.gate)
    assert verdict.decision == "refused"
    assert verdict.reasons[0].startswith(
        "refused: it is worse: held-out corrections are preferred less than before: score margin -0."
    )


def test_an_adapter_that_just_answers_shorter_is_refused_for_that(
    corrections: list[Example], general: list[Example], tmp_path: Path
) -> None:
    hard = TrainingConfig(learning_rate=1e-3)
    lessons = [cut_short(example) for example in corrections[:80]]
    found = measured(lessons, corrections, general, tmp_path, hard)
    verdict = decide(found, CONFIG.gate)
    assert verdict.decision == "refused"
    shrunk = [reason for reason in verdict.reasons if "answers shrank on" in reason]
    assert [reason.split(":")[1] for reason in shrunk] == [
        " answers shrank on held-out corrections",
        " answers shrank on uncorrected answers",
    ]
    assert verdict.comparisons["truth.wrong"].change.high < 0, "it hallucinates less, since it says little"
