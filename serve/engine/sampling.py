"""From logits to token ids, for the whole batch at once. Each row's choice depends on that row alone."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .cuts import cut
from .protocol import Sampling

GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: logits divided by them can overflow."""


@dataclass(frozen=True)
class Row:
    sampling: Sampling
    draw: float
    """In [0, 1), from the sequence's own generator; unused by a greedy row."""
    adjustments: Mapping[int, float] = field(default_factory=dict)
    """What is added to logits, by token id: bias less penalties."""

    @property
    def is_greedy(self) -> bool:
        return self.sampling.temperature < GREEDY_BELOW

    @property
    def is_cut(self) -> bool:
        return self.sampling.top_p < 1 or self.sampling.top_k > 0 or self.sampling.min_p > 0


def sample(logits: Tensor, rows: Ordered[Row]) -> list[int | None]:
    """One token id for each row of `logits` (B, V); None where the logits hold a NaN or +inf."""
    logits = _adjusted(logits, rows)
    best, greedy = logits.max(dim=-1)  # (B,) (B,): a NaN anywhere in a row is its maximum
    drawn = [index for index, row in enumerate(rows) if not row.is_greedy]
    if drawn:
        greedy[drawn] = _draw(logits[drawn], [rows[index] for index in drawn])
    token_ids: list[int | None] = greedy.tolist()
    if not torch.isfinite(best).all():
        is_finite = torch.isfinite(best).tolist()
        return [token_id if good else None for token_id, good in zip(token_ids, is_finite, strict=True)]
    return token_ids


def _adjusted(logits: Tensor, rows: Ordered[Row]) -> Tensor:
    adjusted = [index for index, row in enumerate(rows) if row.adjustments]
    if not adjusted:
        return logits
    of_row = [index for index in adjusted for _ in rows[index].adjustments]
    token_ids = [token_id for index in adjusted for token_id in rows[index].adjustments]
    amounts = [amount for index in adjusted for amount in rows[index].adjustments.values()]
    places = torch.tensor([of_row, token_ids], device=logits.device)
    logits = logits.to(torch.float32, copy=True)
    logits[places[0], places[1]] += torch.tensor(amounts, device=logits.device)
    return logits


def _draw(logits: Tensor, rows: Ordered[Row]) -> Tensor:
    """By inverting the cumulative distribution in the order of the vocabulary. Overwrites the logits."""
    numbers = torch.tensor(
        [[row.sampling.temperature, row.draw] for row in rows], dtype=torch.float64, device=logits.device
    )
    temperature, draw = numbers.unsqueeze(2).unbind(1)  # (B, 1) each
    # in place where it can be: at a large vocabulary new memory takes longer than the arithmetic
    probabilities = torch.softmax(logits.float().div_(temperature.float()), dim=-1).nan_to_num_()  # (B, V)
    is_cut = [index for index, row in enumerate(rows) if row.is_cut]
    if is_cut:
        probabilities[is_cut] = cut(probabilities[is_cut], [rows[index].sampling for index in is_cut])
    cumulative = probabilities.double().cumsum(dim=-1)  # (B, V)
    # right=True passes over tokens of probability zero, for a draw of exactly 0 too
    chosen = torch.searchsorted(cumulative, draw * cumulative[:, -1:], right=True)  # (B, 1)
    return chosen.squeeze(1).clamp_(max=logits.shape[-1] - 1)
