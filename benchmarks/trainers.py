"""One trainer at a time, to be timed: Errata's, the same with one optimisation off, and TRL's `DPOTrainer`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from align.adapter import attach_adapter, target_pattern
from align.config import ForwardConfig, ObjectiveConfig, TrainingConfig
from align.dataset import prepare_pairs
from align.examples import Example
from align.formats.trl import trl_row, trl_schema
from align.forward import PairForward
from align.logprobs import AnswerBatch
from align.objective import AnswerLogps, Losses, Reference, pair_losses, reference_table
from align.rendering import Renderer
from align.steps import TrainingRun

DPO = ObjectiveConfig(preference_weight=1.0, beta=0.1, gamma=1.0, normalize=False, anchor_weight=0.0)
"""Ordinary DPO, which both know."""
CONFIG = TrainingConfig(objective=DPO)


@dataclass(frozen=True)
class Variant:
    config: TrainingConfig = CONFIG
    run: type[TrainingRun] = TrainingRun


def _forward(**changes: Any) -> TrainingConfig:
    return CONFIG.model_copy(update={"forward": ForwardConfig(**changes)})


class ReferenceEveryStep(TrainingRun):
    """As trainers do that cannot keep the reference's scores."""

    def _reference_table(self) -> Tensor:
        return torch.zeros(len(self.pairs), 4)

    def _losses(self, part: list[int]) -> Losses:
        with torch.no_grad(), self.model.disable_adapter():
            reference = Reference.from_table(reference_table(self._logps(part, DPO), DPO))
        return pair_losses(self._logps(part, DPO), reference, DPO)


class AllLogits(TrainingRun):
    """The output layer at every position, its logits kept for the backward pass."""

    def _reference_table(self) -> Tensor:
        self.forward.__class__ = _AllLogitsForward  # before its first use
        return super()._reference_table()


class _AllLogitsForward(PairForward):
    def _logps(self, batch: AnswerBatch) -> AnswerLogps:
        logits = self._model(**batch.inputs, use_cache=False).logits.float()  # (B, S, V)
        targets = batch.targets
        totals = logits.logsumexp(-1)[batch.predicts]  # (K,)
        rows, places = batch.predicts.nonzero(as_tuple=True)
        of_targets = logits[rows[targets.predictors], places[targets.predictors], targets.token_ids]
        logps = (of_targets - totals[targets.predictors]) * targets.is_answer
        return AnswerLogps(logps, targets.is_answer, targets.is_corrected)


class AnyOrder(TrainingRun):
    """Micro-batches of pairs as they come, of any length."""

    def _own_parts(self, batch: list[int]) -> Iterator[list[int]]:
        for start in range(0, len(batch), self.config.micro_batch_size):
            yield batch[start : start + self.config.micro_batch_size]


VARIANTS = {
    "errata": Variant(),
    "without a shared prefix": Variant(_forward(share_prefix=False)),
    "without kept image features": Variant(_forward(image_cache_bytes=0)),
    "with the reference in every step": Variant(run=ReferenceEveryStep),
    "with logits at all positions": Variant(run=AllLogits),
    "without sorting by length": Variant(run=AnyOrder),
    "with bfloat16": Variant(_forward(precision="bfloat16")),
    "with gradient checkpointing": Variant(_forward(gradient_checkpointing=True)),
}
TRL = "TRL's DPOTrainer"
TRL_COMPACT = "TRL's, as on a GPU"
"""With its output layer at answer positions only, which TRL does by itself where there is Triton."""


def prepared(
    name: str, model_path: str, examples: Sequence[Example], num_epochs: int
) -> Callable[[], object]:
    """The trainer of that name, ready to be timed."""
    if name in VARIANTS:
        return _ours(VARIANTS[name], model_path, examples, num_epochs)
    trainer = dpo_trainer(model_path, examples, num_epochs)
    if name == TRL_COMPACT:
        from trl.trainer import utils

        utils._use_triton = lambda device: True  # asked only which positions to score
    return trainer.train  # TRL's own preparation is not counted


def _ours(
    variant: Variant, model_path: str, examples: Sequence[Example], num_epochs: int
) -> Callable[[], object]:
    """All that a run does once the base model is there: render, encode, reference, steps."""
    config = variant.config.model_copy(update={"num_epochs": num_epochs})
    renderer = Renderer.from_pretrained(model_path)
    dtype = getattr(torch, config.forward.precision)
    base = AutoModelForImageTextToText.from_pretrained(model_path, dtype=dtype)

    def work() -> None:
        pairs, _ = prepare_pairs(examples, renderer, config.max_length, config.objective)
        for _ in variant.run(attach_adapter(base, config.lora), pairs, config).steps():
            pass

    return work


def dpo_trainer(model_path: str, examples: Sequence[Example], num_epochs: int) -> Any:
    """TRL's trainer with the same LoRA, batches, optimizer and objective."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    model = AutoModelForImageTextToText.from_pretrained(model_path, dtype=torch.float32)
    lora = LoraConfig(
        r=CONFIG.lora.rank,
        lora_alpha=int(CONFIG.lora.alpha),
        lora_dropout=CONFIG.lora.dropout,
        target_modules=target_pattern(model),
        bias="none",
    )
    settings = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=num_epochs,
        per_device_train_batch_size=CONFIG.micro_batch_size,
        gradient_accumulation_steps=CONFIG.batch_size // CONFIG.micro_batch_size,
        learning_rate=CONFIG.learning_rate,
        warmup_steps=CONFIG.warmup_ratio,
        max_grad_norm=CONFIG.max_grad_norm,
        beta=DPO.beta,
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    rows = pa.Table.from_pylist([trl_row(example, True) for example in examples], trl_schema(True))
    processor = AutoProcessor.from_pretrained(model_path)
    return DPOTrainer(
        model, args=settings, train_dataset=Dataset(rows), processing_class=processor, peft_config=lora
    )
