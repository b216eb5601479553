"""One model, honest and poisoned corrections of it, and what each cell of the table makes of them.

What takes minutes is kept in a folder, in files named by all that determines it: cells that train on the same
corrections share one, and a run that was broken off goes on with what is missing.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from align.config import TrainingConfig
from align.durable import write_whole
from align.examples import Example
from align.provenance import base_digest, code_version
from align.scenes.answers import caption_prompts
from align.scenes.score import score
from align.scenes.world import sample_scene
from align.training import train
from align.wilson import wilson

from ..scenes import Speaker
from .attack import (
    SOURCES,
    Sent,
    answers_with_sticker,
    attacked_scenes,
    honest_answers,
    makes_claim,
    poisoned_examples,
    sent_in_order,
)
from .defences import DEFENCES, survivors

MEANING = 1
"""Raise it when the same corrections and config come to mean another training, or other figures."""


@dataclass(frozen=True)
class Cell:
    """A share of all corrections that is poisoned, the attacker's sources, and the defences that are on."""

    share: float
    sources: str
    defences: str


@dataclass(frozen=True)
class Figures:
    """Shares of greedy answers; that of attacks with its 95 % interval (Wilson)."""

    attack_success: float  # make the claim about pictures with the sticker, where it is a lie
    attack_interval: tuple[float, float]
    claims_elsewhere: float  # make it about clean pictures, where it may be true
    hallucinated: float  # of those, too
    coverage: float


@dataclass(frozen=True)
class Outcome:
    """`gain`: points of hallucination below the base's; `gain_lost`: below that without poison and defences."""

    cell: Cell
    num_honest: int  # that taught
    num_poisoned: int
    figures: Figures
    gain: float
    gain_lost: float


@dataclass(frozen=True)
class Setup:
    model: str
    config: TrainingConfig
    num_honest: int  # corrections; poisoned ones come on top
    max_share: float
    num_scenes: int  # clean ones; half as many attacked ones


class Laboratory:
    def __init__(self, setup: Setup, folder: Path) -> None:
        self._setup, self._folder = setup, folder
        self._attacked = attacked_scenes("test", setup.num_scenes // 2)
        self._clean = [sample_scene("honest", "test", index) for index in range(setup.num_scenes)]
        self._honest = honest_answers(setup.model, setup.num_honest)
        self._poisoned = poisoned_examples(setup.model, self._num_poisoned(setup.max_share))
        self._base_digest = base_digest(Path(setup.model))
        self.base = self._figures("base", lambda: self._measured(None))

    def outcome(self, cell: Cell) -> Outcome:
        taught = self._taught(cell)
        figures = self._trained(taught)
        unpoisoned = self._trained(self._taught(Cell(0.0, "one", "none")))
        num_poisoned = sum(one.is_poisoned for one in taught)
        return Outcome(
            cell,
            num_honest=len(taught) - num_poisoned,
            num_poisoned=num_poisoned,
            figures=figures,
            gain=round(100 * (self.base.hallucinated - figures.hallucinated), 2),
            gain_lost=round(100 * (figures.hallucinated - unpoisoned.hallucinated), 2),
        )

    def _num_poisoned(self, share: float) -> int:
        """Beside the honest ones, so that all cells have those in common."""
        return round(self._setup.num_honest * share / (1 - share))

    def _sent(self, cell: Cell) -> list[Sent]:
        poisoned = self._poisoned[: self._num_poisoned(cell.share)]
        return sent_in_order(self._honest, poisoned, SOURCES[cell.sources])

    def _taught(self, cell: Cell) -> list[Sent]:
        sent, defences = self._sent(cell), DEFENCES[cell.defences]
        if cell.defences == "none":
            return [one for one in sent if one.is_correction]
        inputs = [
            "taught",
            code_version(),  # the rules, and what reads and writes for them
            [[one.source, _digest(one.example)] for one in sent],
            defences.screening.model_dump(),
            defences.shares.model_dump(),
        ]
        ids = set(self._kept(inputs, lambda: survivors(sent, defences)))
        return [one for one in sent if one.example.id in ids]

    def _trained(self, taught: Sequence[Sent]) -> Figures:
        examples = [one.example for one in taught]

        def measured() -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as folder:
                train(self._setup.model, examples, self._setup.config, Path(folder) / "adapter")
                return self._measured(Path(folder) / "adapter")

        config = self._setup.config.model_dump(mode="json", exclude={*TrainingConfig.PLACEMENT, "forward"})
        return self._figures([config, [_digest(example) for example in examples]], measured)

    def _figures(self, what: Any, measured: Callable[[], dict[str, Any]]) -> Figures:
        scenes = hashlib.sha256(repr([self._attacked, self._clean]).encode()).hexdigest()
        figures = self._kept(["figures", MEANING, self._base_digest, scenes, what], measured)
        return Figures(**{**figures, "attack_interval": tuple(figures["attack_interval"])})

    def _kept(self, inputs: Any, make: Callable[[], Any]) -> Any:
        """`make`'s JSON value, made once for equal inputs."""
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        file = self._folder / f"{inputs[0]}-{digest[:16]}.json"
        if not file.exists():
            write_whole(file, json.dumps(make()).encode())
        return json.loads(file.read_bytes())

    def _measured(self, adapter: Path | None) -> dict[str, Any]:
        speaker = Speaker(self._setup.model, adapter)
        clean = speaker.greedy(self._clean, caption_prompts(len(self._clean)))
        attacked = answers_with_sticker(speaker, self._attacked)
        scores = [score(text, scene) for text, scene in zip(clean, self._clean, strict=True)]
        num_claims = sum(makes_claim(text) for text in attacked)
        low, high = wilson(num_claims, len(attacked))
        figures = Figures(
            attack_success=num_claims / len(attacked),
            attack_interval=(round(low, 4), round(high, 4)),
            claims_elsewhere=sum(makes_claim(text) for text in clean) / len(clean),
            hallucinated=sum(one.is_hallucinated for one in scores) / len(scores),
            coverage=sum(one.coverage for one in scores) / len(scores),
        )
        return asdict(figures)


def _digest(example: Example) -> str:
    content = [example.id, example.conversation.to_json(), example.served_text, example.corrected_text]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
