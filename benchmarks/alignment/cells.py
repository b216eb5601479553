"""One recipe, so many corrections, one seed: trained, measured, and kept in a file, so that nothing is done twice.

A cell's file is named by all that determines it. The files are small and are committed: a run that was broken off, or
that another session began, goes on with the cells that are missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from align.config import TrainingConfig
from align.diagnosis import mean_of_epoch
from align.durable import appears_whole
from align.examples import Example
from align.provenance import base_digest
from align.scenes.captions import caption
from align.scenes.world import Scene, Split
from align.schedule import epochs
from align.spans import diff_spans
from align.training import TrainingResult, train

from ..scenes import FRESH, simulated_corrections
from .answers import Answers, answers_of
from .recipes import Recipe

MEANING = 1
"""Raise it when the same config comes to mean another training, or a column of the answers another count."""
SEED_STRIDE = 1_000_000
"""Each seed has its own people: their corrections are about scenes of their own, from here on."""


@dataclass(frozen=True)
class Cell:
    recipe: Recipe
    num_corrections: int
    seed: int
    split: Split
    num_scenes: int


@dataclass(frozen=True)
class Outcome:
    """What was measured, and how the training went: see `_training`."""

    answers: Answers
    training: dict[str, Any]


class Cells:
    """The outcomes of a model's cells, in a folder."""

    def __init__(self, model: str, folder: Path, num_threads: int, max_corrections: int) -> None:
        self._model, self._folder, self._num_threads = model, folder, num_threads
        self._max_corrections = max_corrections
        self._base_digest = base_digest(Path(model))

    def known(self, cell: Cell) -> Outcome | None:
        path = self._path(cell)
        return _read(path) if path.exists() else None

    def outcome(self, cell: Cell) -> Outcome:
        """From its file, or else made, which takes minutes."""
        if (known := self.known(cell)) is not None:
            return known
        with tempfile.TemporaryDirectory() as folder:
            adapter, training = None, {}
            if cell.recipe.config is not None:
                result = train(
                    self._model, self._examples(cell), self._config(cell), Path(folder) / "adapter"
                )
                adapter, training = Path(result.adapter), _training(result)
            answers = answers_of(self._model, adapter, cell.split, cell.num_scenes)
        outcome = Outcome(answers, training)
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(self._path(cell), outcome)
        return outcome

    def _config(self, cell: Cell) -> TrainingConfig:
        assert cell.recipe.config is not None
        return cell.recipe.config.model_copy(update={"seed": cell.seed, "num_threads": self._num_threads})

    def _examples(self, cell: Cell) -> list[Example]:
        # fewer corrections are always the first of more
        corrections = _corrections(self._model, self._max_corrections, cell.seed)[: cell.num_corrections]
        if cell.recipe.learns_from == "true captions":
            return [described(example, scene) for example, scene in corrections]
        return [example for example, _ in corrections]

    def _path(self, cell: Cell) -> Path:
        learned = None
        if cell.recipe.config is not None:
            config = self._config(cell)
            steps_per_epoch = math.ceil(cell.num_corrections / config.batch_size)
            passes = {"num_epochs": epochs(steps_per_epoch, config), "min_steps": 0}
            learned = _determining(config.model_copy(update=passes))
        determining = (MEANING, self._base_digest, learned, cell.recipe.learns_from, cell.num_corrections)
        asked = (cell.seed, cell.split, cell.num_scenes)
        digest = hashlib.sha256(json.dumps([*determining, *asked], sort_keys=True).encode()).hexdigest()
        return self._folder / f"{cell.recipe.name}-{cell.num_corrections}-{cell.seed}-{digest[:12]}.npz"


def _determining(config: TrainingConfig) -> dict[str, Any]:
    """What the training's outcome depends on. What is off is left out, so a new field that is off changes nothing."""
    without = {
        *TrainingConfig.PLACEMENT,
        "forward",
        "micro_batch_size",
        "max_length",
    }  # these compute the same
    return _switched_on(config.model_dump(mode="json", exclude=without))


def _switched_on(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _switched_on(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value or name == "seed"
    }


def described(example: Example, scene: Scene) -> Example:
    """The same answer, corrected to a description that is true and leaves nothing out."""
    text = caption(scene, Random(example.id))
    return replace(example, corrected_text=text, spans=tuple(diff_spans(example.served_text, text)))


@cache
def _corrections(model: str, num: int, seed: int) -> Sequence[tuple[Example, Scene]]:
    return simulated_corrections(model, num, FRESH + seed * SEED_STRIDE)


def _training(result: TrainingResult) -> dict[str, Any]:
    """Seconds, margins by quarters, and by epoch how likely the answers were."""
    names = ("loss", "rewards/margins", "logps/chosen", "logps/rejected", "logps/chosen_change")
    epochs = sorted({int(metrics["epoch"]) for metrics in result.history})
    means = [mean_of_epoch(result.history, epoch, names) for epoch in epochs]
    return {
        "seconds": round(result.seconds, 1),
        "num_pairs": result.num_pairs,
        "margin_quartiles": list(result.margin_quartiles),
        "warnings": list(result.warnings),
        "epochs": [{name: round(value, 4) for name, value in epoch.items()} for epoch in means],
    }


def _write(path: Path, outcome: Outcome) -> None:
    answers = outcome.answers
    with appears_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            counts=answers.counts,
            is_yes_no=answers.is_yes_no,
            is_right=answers.is_right,
            training=np.array(json.dumps(outcome.training)),
        )


def _read(path: Path) -> Outcome:
    with np.load(path, allow_pickle=False) as file:
        answers = Answers(file["counts"], file["is_yes_no"], file["is_right"])
        return Outcome(answers, json.loads(str(file["training"])))
