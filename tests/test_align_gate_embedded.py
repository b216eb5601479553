"""Real adapters of the embedded model before the gate: one that learned, one that learned the wrong way round, and one
that learned to say less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from align.config import AlignmentConfig, TrainingConfig
from align.examples import Example
from align.gate import Verdict, decide
from align.gate.measurement import measure
from align.scenes import MODEL_PATH
from benchmarks.scenes import accepted_answers, simulated_corrections

CONFIG = AlignmentConfig()


@dataclass(frozen=True)
class World:
    train: list[Example]
    held_out: list[Example]
    general: list[Example]
    folder: Path

    def verdict(self, name: str, lesson: Callable[[Example], Example], **training: object) -> Verdict:
        """On an adapter that learned the lesson made of each correction."""
        from align.training import train

        config = TrainingConfig().model_copy(update=training)
        train(MODEL_PATH, [lesson(example) for example in self.train], config, self.folder / name)
        return decide(
            measure(MODEL_PATH, None, self.folder / name, self.held_out, self.general, CONFIG), CONFIG.gate
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    corrections = [example for example, _ in simulated_corrections(str(MODEL_PATH), 120)]
    return World(
        corrections[:80],
        corrections[80:],
        accepted_answers(str(MODEL_PATH), 40),
        tmp_path_factory.mktemp("gate"),
    )
