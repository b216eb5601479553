"""How likely tokens were to the model itself, for those rows of a batch that asked. Knows no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence as Ordered

import torch
from torch import Tensor

Scored = tuple[int, float]
"""A token id and its natural log-probability."""


def log_probabilities(
    logits: Tensor, token_ids: Ordered[int], num_likeliest: Ordered[int]
) -> list[tuple[Scored, list[Scored]]]:
    """For each row of `logits` (B, V) its token's, and those of its `num_likeliest` tokens, the likeliest first."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)  # (B, V)
    of_tokens = logprobs.gather(1, torch.tensor(token_ids, device=logits.device).unsqueeze(1))  # (B, 1)
    values, ids = logprobs.topk(min(max(num_likeliest), logits.shape[-1]), dim=-1)
    return [
        ((token_id, logprob), list(zip(row_ids, row_values, strict=True))[:count])
        for token_id, [logprob], row_ids, row_values, count in zip(
            token_ids, of_tokens.tolist(), ids.tolist(), values.tolist(), num_likeliest, strict=True
        )
    ]
