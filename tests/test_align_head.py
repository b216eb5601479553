from __future__ import annotations

import pytest
import torch
from torch import nn

from align.head import CHUNK_SIZE, Head


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("has_bias", [False, True])
def test_log_probs_and_gradients_are_those_of_whole_logits(cap: float | None, has_bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 30, bias=has_bias).requires_grad_(False)
    hidden = torch.randn(2 * CHUNK_SIZE + 3, 6, requires_grad=True)
    predictors = torch.randint(len(hidden), (4, 100))  # some predict several tokens, others none
    token_ids = torch.randint(30, (4, 100))
    weights = torch.randn(4, 100)

    logits = layer(hidden)
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    expected = logits.log_softmax(-1)[predictors, token_ids]
    (expected * weights).sum().backward()
    assert hidden.grad is not None
    expected_gradient, hidden.grad = hidden.grad, None

    found = Head(layer, cap).logps(hidden, predictors, token_ids)
    (found * weights).sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(hidden.grad, expected_gradient, rtol=1e-5, atol=1e-6)
