"""The output layer where answers stand, a few positions at a time: no logits are kept, for the backward pass neither.

The gradient of a log-prob by the hidden state h is W[token] - sum_v p_v W[v]. The sum is made while the logits are
there, so that the backward pass needs no more than one vector for each position.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

CHUNK_SIZE = 128
"""Positions whose logits are there at one time."""


class Head:
    """A frozen linear output layer, with the soft cap on logits that some models have."""

    def __init__(self, layer: nn.Linear, cap: float | None = None) -> None:
        self._layer, self._cap = layer, cap

    @classmethod
    @torch.no_grad()
    def fitting(cls, base: Any, hidden: Tensor, logits: Tensor, tolerance: float) -> Head | None:
        """The head that makes these `logits` (K, V) of `hidden` (K, D), as `base` does, if there is one."""
        layer = base.get_output_embeddings()
        if type(layer) is not nn.Linear or layer.weight.requires_grad:
            return None
        for cap in (None, getattr(base.config.get_text_config(), "final_logit_softcapping", None)):
            own, _ = _capped(layer(hidden).float(), cap)
            if (own - logits.float()).abs().max() <= tolerance:
                return cls(layer, cap)
        return None

    def logps(self, hidden: Tensor, predictors: Tensor, token_ids: Tensor) -> Tensor:
        """Log-probs, in float32, of `token_ids` (any shape), each predicted by the row of `hidden` (K, D) that
        `predictors` (the same shape) names."""
        flat: Tensor = _TokenLogps.apply(  # type: ignore[no-untyped-call]  # torch has no types here
            hidden, self._layer.weight, self._layer.bias, predictors.flatten(), token_ids.flatten(), self._cap
        )
        return flat.view(token_ids.shape)


class _TokenLogps(Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # (K, D)
        weight: Tensor,  # (V, D)
        bias: Tensor | None,
        predictors: Tensor,  # (M,)
        token_ids: Tensor,  # (M,)
        cap: float | None,
    ) -> Tensor:  # (M,)
        logps, slopes = (torch.zeros(len(token_ids), device=hidden.device) for _ in range(2))
        expected = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None  # sum_v p_v dz_v/dh
        for start in range(0, len(hidden), CHUNK_SIZE):
            chunk = slice(start, start + CHUNK_SIZE)
            logits, slope = _capped(nn.functional.linear(hidden[chunk], weight, bias).float(), cap)
            total = logits.logsumexp(-1)
            here = ((predictors >= start) & (predictors < start + CHUNK_SIZE)).nonzero()[:, 0]
            places = predictors[here] - start, token_ids[here]
            logps[here] = logits[places] - total[places[0]]
            slopes[here] = 1.0 if slope is None else slope[places]
            if expected is not None:
                probs = logits.sub_(total[:, None]).exp_()
                probs = probs if slope is None else probs * slope
                expected[chunk] = (probs.to(weight.dtype) @ weight).to(hidden.dtype)
        if expected is not None:
            ctx.save_for_backward(expected, weight, predictors, token_ids, slopes)
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        expected, weight, predictors, token_ids, slopes = ctx.saved_tensors
        (of_logps,) = gradients  # (M,)
        of_totals = torch.zeros(len(expected), device=expected.device).index_add_(0, predictors, of_logps)
        of_hidden = -of_totals[:, None] * expected  # (K, D)
        of_hidden.index_add_(
            0, predictors, ((of_logps * slopes)[:, None] * weight[token_ids]).to(of_hidden.dtype)
        )
        return of_hidden.to(expected.dtype), None, None, None, None, None


def _capped(logits: Tensor, cap: float | None) -> tuple[Tensor, Tensor | None]:
    """cap * tanh(logits / cap), and its slope; without a cap the logits themselves."""
    if cap is None:
        return logits, None
    squashed = torch.tanh(logits / cap)
    return cap * squashed, 1 - squashed**2
