"""Training's figures the slow way, to compare with: one sequence at a time, no padding, logits everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align.config import ObjectiveConfig
from align.dataset import PreparedPair
from align.pairs import Answer
from align.rendering import Rendered


def plain_logps(model: Any, prompt: Rendered, answer: Answer) -> Tensor:  # (T,)
    input_ids = torch.tensor([[*prompt.input_ids, *answer.token_ids]])
    num_answer = len(answer.token_ids)
    tensors = {
        name: F.pad(tensor, (0, num_answer)) if tensor.shape == (1, prompt.num_tokens) else tensor
        for name, tensor in prompt.tensors.items()
    }
    logits = model(input_ids=input_ids, use_cache=False, **tensors).logits[0]
    before = logits[prompt.num_tokens - 1 : -1]
    return F.log_softmax(before, -1).gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0]


def plain_score(model: Any, prompt: Rendered, answer: Answer, objective: ObjectiveConfig) -> Tensor:
    """Eq. 5."""
    weights = [objective.gamma if is_corrected else 1.0 for is_corrected in answer.is_corrected]
    score = torch.tensor(weights) @ plain_logps(model, prompt, answer)
    return score / sum(weights) if objective.normalize else score


def plain_loss(policy: Any, base: Any, pairs: list[PreparedPair], objective: ObjectiveConfig) -> Tensor:
    """Eq. 3 word by word with its companions, and with `base`, a model of its own, run alongside."""
    losses = []
    for pair in pairs:
        chosen, rejected = pair.pair.chosen, pair.pair.rejected
        sides = [(pair.prompt, chosen), (pair.prompt, rejected), (pair.misleading or pair.prompt, chosen)]
        rewards = []
        for side in sides:
            with torch.no_grad():
                reference = plain_score(base, *side, objective)
            rewards.append(objective.beta * (plain_score(policy, *side, objective) - reference))
        loss = -objective.preference_weight * F.logsigmoid(rewards[0] - rewards[1])
        loss = loss - objective.anchor_weight * plain_logps(policy, pair.prompt, chosen).mean()
        if pair.misleading is not None:
            loss = loss - objective.image_contrast_weight * F.logsigmoid(rewards[0] - rewards[2])
        losses.append(loss)
    return torch.stack(losses).mean()


def with_random_adapter(policy: Any, seed: int = 1) -> Any:
    """The PEFT model, with adapter weights as some training may leave them: the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(policy.named_parameters()):
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    return policy


@contextmanager
def one_thread() -> Iterator[None]:
    """Several threads add in an order of their own, and differ in the last digits."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
