"""Dense DPO (RLHF-V, arXiv 2312.00849) as pure functions of log-probs. Knows nothing of models or tokens.

`gamma = 1` without the division by N is ordinary DPO. Metric names are TRL's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from .config import ObjectiveConfig

METRIC_NAMES = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
)


@dataclass(frozen=True)
class AnswerLogps:
    """Answers of a batch under one model; positions where a row has no answer token hold zeros."""

    logps: Tensor  # (B, T) log-prob of each target token
    is_answer: Tensor  # (B, T) bool
    is_corrected: Tensor  # (B, T) bool

    def __getitem__(self, rows: slice) -> AnswerLogps:
        return AnswerLogps(self.logps[rows], self.is_answer[rows], self.is_corrected[rows])


@dataclass(frozen=True)
class Losses:
    """Per pair, so that sums over micro-batches and workers stay exact."""

    loss: Tensor  # (B,)
    metrics: dict[str, Tensor]  # (B,) each, detached


def answer_score(answers: AnswerLogps, gamma: float, normalize: bool) -> Tensor:  # (B,)
    """S(y|x) of Eq. 5: corrected tokens weigh gamma, the others 1; divided by N, their sum, if `normalize`."""
    weights = answers.is_answer * (1 + (gamma - 1) * answers.is_corrected.to(answers.logps.dtype))  # (B, T)
    total = (weights * answers.logps).sum(-1)
    return total / weights.sum(-1) if normalize else total


def preference_loss(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:  # (B,)
    """Eq. 3. A reward is beta * (S_policy - S_ref)."""
    return -F.logsigmoid(chosen_rewards - rejected_rewards)


def anchor_loss(chosen: AnswerLogps) -> Tensor:  # (B,)
    """Mean negative log-prob per token of the chosen answer: holds it up while the margin grows."""
    return -chosen.logps.sum(-1) / chosen.is_answer.sum(-1)


def dense_dpo(
    chosen: AnswerLogps, rejected: AnswerLogps, reference: Tensor, config: ObjectiveConfig
) -> Losses:
    """Eq. 3 on the scores of Eq. 5, plus the anchor. `reference` is (B, 2): S_ref of chosen and rejected."""
    chosen_score, rejected_score = (
        answer_score(side, config.gamma, config.normalize) for side in (chosen, rejected)
    )
    chosen_rewards = config.beta * (chosen_score - reference[:, 0])
    rejected_rewards = config.beta * (rejected_score - reference[:, 1])
    loss = preference_loss(chosen_rewards, rejected_rewards)
    if config.anchor_weight:
        loss = loss + config.anchor_weight * anchor_loss(chosen)
    margins = chosen_rewards - rejected_rewards
    metrics = {
        "loss": loss,
        "rewards/chosen": chosen_rewards,
        "rewards/rejected": rejected_rewards,
        "rewards/margins": margins,
        "rewards/accuracies": (margins > 0).to(margins.dtype),
        "logps/chosen": chosen.logps.sum(-1),
        "logps/rejected": rejected.logps.sum(-1),
    }
    return Losses(loss, {name: value.detach() for name, value in metrics.items()})
