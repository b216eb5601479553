"""Log-probs of given answers under a model: one forward pass over prompt and answer, logits only where answers stand.

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
class AnswerBatch:
    """`targets` are the tokens at the positions where some row's answer stands; the masks say whose."""

    inputs: dict[str, Tensor]  # for the model's forward
    positions: Tensor  # (T,) the position that predicts each target
    targets: Tensor  # (B, T)
    is_answer: Tensor  # (B, T) bool
    is_corrected: Tensor  # (B, T) bool


def collate(
    prompts: Sequence[Rendered], answers: Sequence[Answer], device: torch.device | str
) -> AnswerBatch:
    """Prompt and answer of each row, one after the other."""
    starts = [len(prompt.input_ids) for prompt in prompts]
    ends = [start + len(answer.token_ids) for start, answer in zip(starts, answers, strict=True)]
    shape = (len(answers), max(ends))
    input_ids = torch.zeros(shape, dtype=torch.long)
    is_answer, is_corrected, attention = (torch.zeros(shape, dtype=torch.bool) for _ in range(3))
    for row, (prompt, answer, start, end) in enumerate(zip(prompts, answers, starts, ends, strict=True)):
        input_ids[row, :end] = torch.tensor([*prompt.input_ids, *answer.token_ids])
        is_corrected[row, start:end] = torch.tensor(answer.is_corrected)
        is_answer[row, start:end] = True
        attention[row, :end] = True
    inputs = {
        **join_tensors(prompts, shape[1]),
        "input_ids": input_ids,
        "attention_mask": attention.long(),
    }
    first, last = min(starts), max(ends)
    return AnswerBatch(
        {name: tensor.to(device) for name, tensor in inputs.items()},
        torch.arange(first - 1, last - 1, device=device),
        input_ids[:, first:last].to(device),
        is_answer[:, first:last].to(device),
        is_corrected[:, first:last].to(device),
    )


def answer_logps(model: Any, batch: AnswerBatch) -> AnswerLogps:
    """One forward pass of `model`, which must take `logits_to_keep` as every transformers model does."""
    output = model(**batch.inputs, logits_to_keep=batch.positions, use_cache=False)
    logits: Tensor = output.logits.float()  # (B, T, V)
    of_targets = logits.gather(-1, batch.targets[..., None])[..., 0]
    logps = (of_targets - logits.logsumexp(-1)) * batch.is_answer
    return AnswerLogps(logps, batch.is_answer, batch.is_corrected)


def join_tensors(prompts: Sequence[Rendered], length: int, pad_left: bool = False) -> dict[str, Tensor]:
    """The prompts' tensors as one batch: those with one value per token are padded with zeros to `length`, all
    others (pixels, grid sizes) follow one another."""
    joined: dict[str, Tensor] = {}
    names = {name for prompt in prompts for name in prompt.tensors} - {"input_ids", "attention_mask"}
    for name in sorted(names):
        parts = []
        for prompt in prompts:
            if name not in prompt.tensors:
                continue
            tensor = prompt.tensors[name]
            if tensor.shape == (1, len(prompt.input_ids)):
                missing = length - tensor.shape[1]
                tensor = torch.nn.functional.pad(tensor, (missing, 0) if pad_left else (0, missing))
            parts.append(tensor)
        joined[name] = torch.cat(parts)
    return joined
