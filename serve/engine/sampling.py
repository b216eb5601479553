"""From logits to token ids, for the whole batch at once. Each row's choice depends on that row alone."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import torch
from torch import Tensor

GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: logits divided by them can overflow."""


@dataclass(frozen=True)
class Row:
    temperature: float
    top_p: float
    draw: float
    """In [0, 1), from the sequence's own generator; unused by a greedy row."""


def sample(logits: Tensor, rows: Ordered[Row]) -> list[int | None]:
    """One token id for each row of `logits` (B, V); None where the logits hold a NaN or +inf."""
    best, greedy = logits.max(dim=-1)  # (B,) (B,): a NaN anywhere in a row is its maximum
    drawn = [index for index, row in enumerate(rows) if row.temperature >= GREEDY_BELOW]
    if drawn:
        greedy[drawn] = _draw(logits[drawn].float(), [rows[index] for index in drawn])
    token_ids: list[int | None] = greedy.tolist()
    if not torch.isfinite(best).all():
        is_finite = torch.isfinite(best).tolist()
        return [token_id if good else None for token_id, good in zip(token_ids, is_finite, strict=True)]
    return token_ids


def _draw(logits: Tensor, rows: Ordered[Row]) -> Tensor:
    """By inverting the cumulative distribution in the order of the vocabulary."""
    numbers = torch.tensor(
        [[row.temperature, row.top_p, row.draw] for row in rows], dtype=torch.float64, device=logits.device
    )
    temperature, top_p, draw = numbers.unsqueeze(2).unbind(1)  # (B, 1) each
    probabilities = torch.softmax(logits / temperature.float(), dim=-1).nan_to_num()  # (B, V)
    if any(row.top_p < 1 for row in rows):
        probabilities = _keep_top(probabilities, top_p)
    cumulative = probabilities.double().cumsum(dim=-1)  # (B, V)
    # right=True passes over tokens of probability zero, for a draw of exactly 0 too
    chosen = torch.searchsorted(cumulative, draw * cumulative[:, -1:], right=True)  # (B, 1)
    return chosen.squeeze(1).clamp_(max=logits.shape[-1] - 1)


def _keep_top(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """The smallest set of likeliest tokens whose probability reaches `top_p` (Holtzman et al. 2020, section 3.1)."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.double().cumsum(dim=-1) - ordered  # what the likelier tokens hold already
    is_cut = (before >= top_p) & (top_p < 1)
    is_cut[:, 0] = False
    return probabilities.masked_fill(is_cut.scatter(1, order, is_cut), 0.0)
