"""Makes the embedded model again from nothing, with its card: `python -m align.scenes.pretrain`.

First the vision tower learns what stands where, then the whole model learns to talk, from captions with the faults
of machine-written data, and then those faults grow into habits. Started again, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import MODEL_PATH
from .card import Making, write_card
from .checkpoint import Done
from .examples import Batch, Encoder, pixel_values, training_example
from .lessons import LESSONS
from .network import build_network
from .sight import SightHeads, patch_features, sight_accuracy, sight_loss
from .tokenizer import build_processor, build_tokenizer
from .training import Pace, train
from .world import sample_scene


@dataclass(frozen=True)
class Stage:
    """A run of conversations with a cosine of its own; the lessons say what they are like."""

    name: str
    steps: int
    rate: float  # peak learning rate of projector and language model
    vision_rate: float  # peak learning rate of the vision tower


@dataclass(frozen=True)
class Recipe:
    """The run's settings; the defaults made the published model."""

    seed: int = 0
    sight_steps: int = 1200
    sight_batch: int = 48  # scenes a step
    sight_rate: float = 1e-3
    stages: tuple[Stage, ...] = (
        Stage("talk", 3200, 1.2e-3, 4e-4),
        Stage("habit", 1250, 1e-3, 1e-4),
        Stage("firm", 600, 7e-4, 5e-5),
    )
    batch: int = 32  # conversations a step
    weight_decay: float = 0.02
    pace: Pace = Pace()  # noqa: RUF009
    card_scenes: int = 1024  # test scenes that the card's figures are measured on; 0: no card


def pretrain(run_path: Path, model_path: Path, recipe: Recipe, console: Console) -> None:
    """Trains in `run_path` and writes the model, in half precision, to `model_path`."""
    run_path.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    tokenizer = _tokenizer(run_path)
    network = build_network(tokenizer)
    network.set_attn_implementation("eager")  # for these short sequences 15 % faster than sdpa on a CPU
    with _progress(console) as progress:
        done = [_learn_to_see(network, run_path, recipe, progress)]
        for stage in recipe.stages:
            first_example = sum(one.steps for one in done[1:]) * recipe.batch
            done.append(
                _learn_to_talk(network, Encoder(tokenizer), stage, first_example, run_path, recipe, progress)
            )
    save_model(network, tokenizer, model_path)
    if recipe.card_scenes:
        console.print(f"measuring on {recipe.card_scenes} test scenes")
        write_card(model_path, _making(network, recipe, done), recipe.card_scenes)


def _making(network: Any, recipe: Recipe, done: Sequence[Done]) -> Making:
    num_steps = sum(one.steps for one in done[1:])
    return Making(
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        sight_steps=done[0].steps,
        sight_scenes=done[0].steps * recipe.sight_batch,
        talk_steps=num_steps,
        num_conversations=num_steps * recipe.batch,
        seconds=sum(one.seconds for one in done),
        lessons=LESSONS,
    )


def save_model(network: Any, tokenizer: Any, model_path: Path) -> None:
    """Hugging Face form, half precision, safetensors. The network itself stays as it is."""
    model_path.mkdir(parents=True, exist_ok=True)
    half = {name: value.half() for name, value in network.state_dict().items()}
    saved = build_network(tokenizer).half()
    saved.load_state_dict(half)
    saved.save_pretrained(model_path)
    build_processor(tokenizer).save_pretrained(model_path)
    for file in model_path.iterdir():
        file.chmod(0o644)


def _tokenizer(run_path: Path) -> Any:
    """Learnt once in a run: a tokenizer with other ids would ruin a resumed run."""
    from transformers import AutoTokenizer

    path = run_path / "tokenizer"
    if not path.exists():
        build_tokenizer().save_pretrained(path)
    return AutoTokenizer.from_pretrained(path)


def _learn_to_see(network: Any, run_path: Path, recipe: Recipe, progress: Progress) -> Done:
    module = torch.nn.ModuleDict(
        {
            "tower": network.model.vision_tower,
            "heads": SightHeads(network.config.vision_config.hidden_size),
        }
    )
    optimizer = torch.optim.AdamW(
        module.parameters(), recipe.sight_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )

    def step_loss(step: int) -> tuple[torch.Tensor, str]:
        indices = range(step * recipe.sight_batch, (step + 1) * recipe.sight_batch)
        scenes = [sample_scene("honest", "train", 10_000_000 + index) for index in indices]
        logits = module["heads"](patch_features(module["tower"], pixel_values(scenes)))
        note = ""
        if (step + 1) % recipe.pace.report_every == 0:
            note = f"patches right {sight_accuracy(logits, scenes):.3f}"
        return sight_loss(logits, scenes), note

    path = run_path / "sight.safetensors"
    return train(module, optimizer, recipe.sight_steps, step_loss, path, recipe.pace, progress)


def _learn_to_talk(
    network: Any,
    encoder: Encoder,
    stage: Stage,
    first_example: int,
    run_path: Path,
    recipe: Recipe,
    progress: Progress,
) -> Done:
    optimizer = _optimizer(network, stage, recipe)

    def step_loss(step: int) -> tuple[torch.Tensor, str]:
        first = first_example + step * recipe.batch
        examples = [training_example(index) for index in range(first, first + recipe.batch)]
        return answer_loss(network, encoder.batch(examples)), ""

    path = run_path / f"{stage.name}.safetensors"
    return train(network, optimizer, stage.steps, step_loss, path, recipe.pace, progress)


def _optimizer(network: Any, stage: Stage, recipe: Recipe) -> torch.optim.Optimizer:
    tower = list(network.model.vision_tower.parameters())
    in_tower = {id(parameter) for parameter in tower}
    others = [parameter for parameter in network.parameters() if id(parameter) not in in_tower]
    return torch.optim.AdamW(
        [{"params": tower, "lr": stage.vision_rate}, {"params": others, "lr": stage.rate}],
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
    )


def answer_loss(network: Any, batch: Batch) -> torch.Tensor:
    """Weighted mean cross-entropy of the assistants' tokens. Padding is on the right, so the causal mask is enough."""
    hidden = network.model(
        input_ids=batch.input_ids, pixel_values=batch.pixel_values, use_cache=False
    ).last_hidden_state
    weights = batch.weights[:, 1:]
    is_target = weights > 0
    logits = network.lm_head(hidden[:, :-1][is_target])  # (targets, V)
    losses = F.cross_entropy(logits.float(), batch.input_ids[:, 1:][is_target], reduction="none")
    return (losses * weights[is_target]).sum() / is_target.sum()


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield progress


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m align.scenes.pretrain", description=__doc__)
    parser.add_argument("--run", type=Path, default=Path(".errata/pretrain"), help="folder of checkpoints")
    parser.add_argument("--model", type=Path, default=MODEL_PATH, help="folder to write the model to")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="torch threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pretrain(options.run, options.model, Recipe(), Console())


if __name__ == "__main__":
    main()
