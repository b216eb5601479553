"""Log-probs of given answers under a model: one forward pass over prompt and answer, logits only where needed.

Rows are padded on the right: under a causal mask no real token then sees padding, in any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .objective import AnswerLogps
from .pairs import Answer
from .rendering import Rendered


@dataclass(frozen=True)
class Targets:
    """Tokens whose log-probs are wanted, one row an answer. Where a row has no more, `is_answer` is false."""

    token_ids: Tensor  # (B, T)
    predictors: Tensor  # (B, T) which of the computed logits predicts each
    is_answer: Tensor  # (B, T) bool
    is_corrected: Tensor  # (B, T) bool


@dataclass(frozen=True)
class AnswerBatch:
    """`predicts` marks the positions whose logits are needed; they are numbered row by row."""

    inputs: dict[str, Any]  # for the model's forward
    predicts: Tensor  # (rows, S) bool, K of them true
    targets: Targets


def collate(
    prompts: Sequence[Rendered], answers: Sequence[Answer], device: torch.device | str
) -> AnswerBatch:
    """Prompt and answer of each row, one after the other."""
    rows = [(*prompt.input_ids, *answer.token_ids) for prompt, answer in zip(prompts, answers, strict=True)]
    input_ids, attention_mask = pad_rows(rows)
    predicts = torch.zeros_like(attention_mask, dtype=torch.bool)
    predictors: list[range] = []
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        first, num_targets = prompt.num_tokens - 1, len(answer.token_ids)
        predicts[row, first : first + num_targets] = True
        start = predictors[-1].stop if predictors else 0
        predictors.append(range(start, start + num_targets))
    inputs = {
        **join_tensors(prompts, input_ids.shape[1]),
        "input_ids": input_ids,
        "attention_mask": attention_mask,
    }
    return AnswerBatch(
        {name: tensor.to(device) for name, tensor in inputs.items()},
        predicts.to(device),
        collate_targets(answers, predictors, device),
    )


def collate_targets(
    answers: Sequence[Answer], predictors: Sequence[Sequence[int]], device: torch.device | str
) -> Targets:
    """The answers' tokens, and for each the number of the logits that predict it."""
    token_ids, is_answer = pad_rows([answer.token_ids for answer in answers])
    is_corrected, _ = pad_rows([answer.is_corrected for answer in answers])
    numbers, _ = pad_rows(predictors)
    return Targets(
        token_ids.to(device), numbers.to(device), is_answer.bool().to(device), is_corrected.bool().to(device)
    )


def answer_logps(model: Any, batch: AnswerBatch) -> AnswerLogps:
    """One forward pass of `model`, whose `logits_to_keep` must take a mask as transformers' own models' do."""
    output = model(**batch.inputs, logits_to_keep=batch.predicts, use_cache=False)
    logits: Tensor = output.logits.float()  # (K, V)
    targets = batch.targets
    of_targets = logits[targets.predictors, targets.token_ids]  # (B, T)
    logps = (of_targets - logits.logsumexp(-1)[targets.predictors]) * targets.is_answer
    return AnswerLogps(logps, targets.is_answer, targets.is_corrected)


def pad_rows(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows as one tensor (B, S), zeros on the right, and a mask of ones where a row has a value."""
    lengths = torch.tensor([len(row) for row in rows])
    length = int(lengths.max())
    padded = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], dtype=torch.long)
    return padded, (torch.arange(length) < lengths[:, None]).long()


def join_tensors(prompts: Sequence[Rendered], length: int, pad_left: bool = False) -> dict[str, Tensor]:
    """The prompts' tensors as one batch: those with one value per token are padded with zeros to `length`, for
    prompts that lack them too; all others (pixels, grid sizes) follow one another, tiles filled up with empty ones."""
    joined: dict[str, Tensor] = {}
    names = {name for prompt in prompts for name in prompt.tensors} - {"input_ids", "attention_mask"}
    for name in sorted(names):
        owners = [prompt for prompt in prompts if name in prompt.tensors]
        if all(prompt.tensors[name].shape == (1, prompt.num_tokens) for prompt in owners):
            rows = [
                prompt.tensors.get(name, torch.zeros(1, prompt.num_tokens, dtype=torch.long))
                for prompt in prompts
            ]
            missing = [length - row.shape[1] for row in rows]
            padding = [(short, 0) if pad_left else (0, short) for short in missing]
            parts = [torch.nn.functional.pad(row, widths) for row, widths in zip(rows, padding, strict=True)]
        else:
            parts = _of_one_shape([prompt.tensors[name] for prompt in owners])
        joined[name] = torch.cat(parts)
    return joined


def _of_one_shape(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Filled up with zeros behind the first dimension, as image processors do for images of several tiles."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    missing = [
        [width - size for width, size in zip(shape, tensor.shape[1:], strict=True)] for tensor in tensors
    ]
    return [
        torch.nn.functional.pad(tensor, [amount for short in reversed(shorts) for amount in (0, short)])
        for tensor, shorts in zip(tensors, missing, strict=True)
    ]
