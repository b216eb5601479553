"""Real adapters of the embedded model before the gate: one that learned, one that learned the wrong way round, and one
that learned to say less.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from transformers.utils import logging

from align.config import AlignmentConfig, TrainingConfig
from align.examples import Example
from align.gate import Measurements, decide
from align.gate.measurement import measure
from align.gate.null import without_effect
from align.scenes import MODEL_PATH
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
    lessons: list[Example], corrections: list[Example], general: list[Example], folder: Path
) -> Measurements:
    """An adapter that learned the lessons, on corrections that it never saw."""
    train(MODEL_PATH, lessons, TrainingConfig(), folder / "adapter")
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
