"""Which tokens may be drawn: top-k, of these top-p, of these min-p. Each row of a batch depends on itself alone."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from itertools import pairwise

import torch
from torch import Tensor

from .protocol import Sampling

WIDTHS = (256, 4096)
"""Most cuts fall among so few tokens, and to order all of them takes longer than a step of a small model."""


def cut(probabilities: Tensor, samplings: Ordered[Sampling]) -> Tensor:  # (B, V)
    """The probabilities, zero where a token may not be drawn.

    Top-p is that of Holtzman et al. 2020, section 3.1; min-p that of Nguyen et al. 2024, section 3. Of equally likely
    tokens the first in the vocabulary stay.
    """
    num_tokens = probabilities.shape[-1]
    limits = torch.tensor(
        [[sampling.top_k or num_tokens, sampling.top_p, sampling.min_p] for sampling in samplings],
        dtype=torch.float64,
        device=probabilities.device,
    )
    num_kept, least = _kept(probabilities, limits, min(WIDTHS[0], num_tokens))
    for narrow, wide in pairwise((*WIDTHS, num_tokens)):
        is_open = (num_kept >= narrow).squeeze(1)
        if narrow < num_tokens and is_open.any():
            open_rows = probabilities[is_open], limits[is_open]
            num_kept[is_open], least[is_open] = _kept(*open_rows, min(wide, num_tokens))
    is_kept = probabilities >= least
    surplus = is_kept.sum(dim=-1, keepdim=True) - num_kept
    if (surplus > 0).any():
        is_least = probabilities == least
        is_kept &= ~is_least | (is_least.cumsum(dim=-1) <= is_least.sum(dim=-1, keepdim=True) - surplus)
    return probabilities.masked_fill(~is_kept, 0.0)


def _kept(probabilities: Tensor, limits: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """How many tokens stay of the `width` likeliest, and the least probability among them: (B, 1) each."""
    num_tokens = probabilities.shape[-1]
    top_k, top_p, min_p = limits.unsqueeze(2).unbind(1)  # (B, 1) each
    ordered = probabilities.topk(width, dim=-1).values  # (B, width)
    is_cut = torch.arange(width, device=probabilities.device) >= top_k
    held = ordered.double().masked_fill_(is_cut, 0.0)
    before = held.cumsum(dim=-1) - held  # what the likelier tokens hold already
    everything = probabilities.sum(dim=-1, keepdim=True, dtype=torch.float64)
    total = torch.where(top_k < num_tokens, held.sum(dim=-1, keepdim=True), everything)
    is_cut |= (before >= top_p * total) & (top_p < 1)
    is_cut |= ordered < min_p * ordered[:, :1]
    is_cut[:, 0] = False
    # where top-k leaves more than `width`, its total is not known, and all is to be looked at
    is_cut &= (top_k <= width) | (top_k >= num_tokens)
    num_kept = (~is_cut).sum(dim=-1, keepdim=True)
    return num_kept, ordered.gather(1, num_kept - 1)
