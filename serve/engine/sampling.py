"""From logits to token ids, for the whole batch at once. Each row's choice depends on that row alone."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

import torch
from torch import Tensor

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
        greedy[drawn] = _draw(logits[drawn].float(), [rows[index] for index in drawn])
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
    """By inverting the cumulative distribution in the order of the vocabulary."""
    numbers = torch.tensor(
        [[row.sampling.temperature, row.draw] for row in rows], dtype=torch.float64, device=logits.device
    )
    temperature, draw = numbers.unsqueeze(2).unbind(1)  # (B, 1) each
    probabilities = torch.softmax(logits / temperature.float(), dim=-1).nan_to_num()  # (B, V)
    cut = [index for index, row in enumerate(rows) if row.is_cut]
    if cut:
        probabilities[cut] = _without_the_unlikely(
            probabilities[cut], [rows[index].sampling for index in cut]
        )
    cumulative = probabilities.double().cumsum(dim=-1)  # (B, V)
    # right=True passes over tokens of probability zero, for a draw of exactly 0 too
    chosen = torch.searchsorted(cumulative, draw * cumulative[:, -1:], right=True)  # (B, 1)
    return chosen.squeeze(1).clamp_(max=logits.shape[-1] - 1)


def _without_the_unlikely(probabilities: Tensor, samplings: Ordered[Sampling]) -> Tensor:  # (B, V)
    """Top-k, of these top-p (Holtzman et al. 2020, section 3.1), of these min-p (Nguyen et al. 2024, section 3)."""
    num_tokens = probabilities.shape[-1]
    numbers = torch.tensor(
        [[sampling.top_k or num_tokens, sampling.top_p, sampling.min_p] for sampling in samplings],
        dtype=torch.float64,
        device=probabilities.device,
    )
    top_k, top_p, min_p = numbers.unsqueeze(2).unbind(1)  # (B, 1) each
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    is_cut = torch.arange(num_tokens, device=probabilities.device) >= top_k
    kept = ordered.double().masked_fill_(is_cut, 0.0)
    before = kept.cumsum(dim=-1) - kept  # what the likelier tokens hold already
    is_cut |= (before >= top_p * kept.sum(dim=-1, keepdim=True)) & (top_p < 1)
    is_cut |= ordered < min_p * ordered[:, :1]
    is_cut[:, 0] = False
    return probabilities.masked_fill(is_cut.scatter(1, order, is_cut), 0.0)
