"""What a model must do to be served at all, tried once at the start on a few tokens of text."""

from __future__ import annotations

from typing import Any

import torch

from align.rendering import Rendered

from ..errors import SettingsError
from .agreement import agree, difference
from .protocol import BASE, Sampling
from .runner import Runner
from .sequence import Sequence
from .slots import BASE_SLOT


@torch.inference_mode()
def check_steps(runner: Runner, token_ids: list[int], tokenizer: Any) -> None:
    """A token is followed by the same, whether it stands in a prompt or came in a step after it.

    Raises `SettingsError` for a model that counts positions or looks around in a way of its own.
    """
    whole = runner.prefill((_sequence(token_ids, tokenizer),), 0)
    *before, last = token_ids
    sequence = _sequence(before, tokenizer)
    runner.prefill((sequence,), 0)
    sequence.append(last)
    step = runner.decode((sequence,))
    runner.clear(0)
    if not agree(step, whole):
        raise SettingsError(
            f"{runner.model_name} goes on otherwise token by token than from a prompt: {difference(step, whole):.0%} "
            "of the probability moves. Its positions or its attention are of a kind that is not served; choose "
            "another model."
        )


def _sequence(token_ids: list[int], tokenizer: Any) -> Sequence:
    """With this prompt, for nobody."""
    prompt, sampling = Rendered(tuple(token_ids), {}), Sampling(len(token_ids))
    return Sequence("probe", prompt, sampling, BASE, BASE_SLOT, lambda _: None, tokenizer, ())
