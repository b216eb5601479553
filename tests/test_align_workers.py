"""Two real processes of a torch process group do together what one does alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from corrections import corrections
from plain import with_random_adapter
from safetensors.torch import load_file, save_file
from tiny_models import tiny_llava
from torch import distributed, multiprocessing
from transformers import AutoModelForImageTextToText

from align.adapter import attach_adapter
from align.config import LoraSettings, ObjectiveConfig, TrainingConfig
from align.dataset import prepare_pairs
from align.rendering import Renderer
from align.steps import TrainingRun
from align.workers import Workers

CONFIG = TrainingConfig(
    lora=LoraSettings(rank=4),
    objective=ObjectiveConfig(image_contrast_weight=0.5),
    batch_size=4,
    micro_batch_size=2,
)
BATCHES = {"even": [0, 1, 2, 3], "uneven": [4, 2, 0], "one pair for two workers": [3]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


def gradients(base: Path) -> dict[str, torch.Tensor]:
    """Of every adapter weight for each batch, the loss of each, and the reference, as this worker has them."""
    renderer = Renderer.from_pretrained(base)
    pairs, _ = prepare_pairs(corrections(base, 5), renderer, 4096, CONFIG.objective)
    model: Any = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    model = with_random_adapter(attach_adapter(model, CONFIG.lora))
    run = TrainingRun(model, pairs, CONFIG)
    found = {"reference": run.reference}
    for name, batch in BATCHES.items():
        metrics = run.gather_gradients(batch)
        found[f"{name}: loss"] = torch.tensor(metrics["loss"])
        found |= {
            f"{name}: {place}": parameter.grad.clone()
            for place, parameter in enumerate(run.parameters)
            if parameter.grad is not None
        }
    return found


def work(rank: int, base: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    workers = Workers.current("cpu")
    assert (workers.rank, workers.num) == (rank, 2)
    assert workers.from_first(10 + rank) == 10
    assert workers.any(rank == 1)
    assert not workers.any(False)
    save_file(gradients(base), folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


def test_gradients_of_two_workers_equal_those_of_one_at_the_same_global_batch(
    base: Path, tmp_path: Path
) -> None:
    alone = gradients(base)
    multiprocessing.spawn(work, args=(base, tmp_path), nprocs=2)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys() == alone.keys()
    assert len(alone) > 3 * 10
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    for name, expected in alone.items():
        assert expected.any(), f"{name} tells nothing"
        assert (first[name] - expected).norm() < 1e-5 * expected.norm(), name
