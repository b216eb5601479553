"""What a model says to prompts, greedily, so that it says the same again. Knows nothing of adapters or items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria

from ..detokenizer import spelled
from ..logprobs import join_tensors
from ..rendering import Rendered, Renderer


class _Never(StoppingCriteria):  # type: ignore[misc]  # transformers has no types here
    """Stops no row, and calls somebody after each token."""

    def __init__(self, on_token: Callable[[], None]) -> None:
        self._on_token = on_token

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        self._on_token()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def greedy_answers(
    model: Any,
    prompts: Sequence[Rendered],
    renderer: Renderer,
    max_new_tokens: int,
    on_token: Callable[[], None] = lambda: None,
) -> list[str]:
    """What the model says to each prompt, at most `max_new_tokens` long, as one batch.

    `on_token` is called after each token of them all; what it raises ends the decoding.
    """
    length = max(prompt.num_tokens for prompt in prompts)
    input_ids = torch.zeros(len(prompts), length, dtype=torch.long)
    attention = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, length - prompt.num_tokens :] = torch.tensor(prompt.input_ids)
        attention[row, length - prompt.num_tokens :] = 1
    inputs = {
        **join_tensors(prompts, length, pad_left=True),
        "input_ids": input_ids,
        "attention_mask": attention,
    }
    generated = model.generate(
        **{name: tensor.to(model.device) for name, tensor in inputs.items()},
        do_sample=False,
        max_new_tokens=max_new_tokens,
        stopping_criteria=[_Never(on_token)],
        eos_token_id=list(renderer.eos_token_ids),
        pad_token_id=renderer.eos_token_ids[0],
    )
    return [spelled(answer, renderer.tokenizer) for answer in generated[:, length:].tolist()]
