"""At gamma 1 without the division by N the objective is ordinary DPO: loss and gradients are those of TRL's trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from corrections import corrections
from plain import one_thread, with_random_adapter
from tiny_models import tiny_llava
from transformers import AutoModelForImageTextToText

from align.adapter import attach_adapter
from align.dataset import prepare_pairs
from align.rendering import Renderer
from align.steps import TrainingRun
from benchmarks.trainers import CONFIG, dpo_trainer

pytest.importorskip("trl", reason="compares with TRL: pip install -e '.[peers]'")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.filterwarnings("default")  # TRL's own are not ours to mend
def test_loss_and_gradients_equal_those_of_trl_on_the_same_batch(tmp_path: Path) -> None:
    base = tiny_llava(tmp_path)
    examples = corrections(base, 5)
    trainer = dpo_trainer(str(base), examples, num_epochs=1)
    batch = trainer.data_collator([dict(row) for row in trainer.train_dataset])
    theirs = trained(with_random_adapter(trainer.model))
    expected = trainer.compute_loss(trainer.model, batch)
    expected.backward()

    pairs, skipped = prepare_pairs(examples, Renderer.from_pretrained(base), 512, CONFIG.objective)
    assert not skipped
    answers = {
        (*pair.prompt.input_ids, *side.token_ids)
        for pair in pairs
        for side in (pair.pair.chosen, pair.pair.rejected)
    }
    rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
    assert {tuple(token for token, is_read in zip(*row, strict=True) if is_read) for row in rows} == answers

    model = attach_adapter(
        AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32), CONFIG.lora
    )
    run = TrainingRun(model, pairs, CONFIG)
    ours = trained(with_random_adapter(model))
    metrics = run.gather_gradients(list(range(len(pairs))))
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert ours.keys() == theirs.keys()
    for name, parameter in ours.items():
        assert theirs[name].grad is not None
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-6, msg=name)
