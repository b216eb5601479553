"""What a pair teaches, as pure functions of log-probs. Knows nothing of models or tokens.

    loss = preference_weight * dense DPO + anchor_weight * anchor + image_contrast_weight * image contrast

Dense DPO is RLHF-V's (arXiv 2312.00849): `gamma = 1` without the division by N is ordinary DPO (arXiv 2305.18290).
The anchor alone is supervised fine-tuning on the corrected answer. The image contrast is mDPO's (arXiv 2406.11839).
Metric names are TRL's where it has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import ObjectiveConfig

METRIC_NAMES = (
    "loss",
    "nll_loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "rewards/image_margins",
    "logps/chosen",
    "logps/rejected",
    "logps/chosen_change",
)
"""`logps/chosen_change`: nats that the chosen answer has gained since the run began. `rewards/image_margins`: zero
without the image contrast."""


@dataclass(frozen=True)
class AnswerLogps:
    """Answers of a batch under one model; positions where a row has no answer token hold zeros."""

    logps: Tensor  # (B, T) log-prob of each target token
    is_answer: Tensor  # (B, T) bool
    is_corrected: Tensor  # (B, T) bool

    def __getitem__(self, rows: slice) -> AnswerLogps:
        return AnswerLogps(self.logps[rows], self.is_answer[rows], self.is_corrected[rows])

    def of(self, rows: Tensor) -> AnswerLogps:  # (B,) bool
        """The same batch; the other rows have no answer."""
        return AnswerLogps(self.logps * rows[:, None], self.is_answer & rows[:, None], self.is_corrected)


@dataclass(frozen=True)
class PairLogps:
    """A batch's pairs under one model. `misled` is the chosen answer about a corrupted image, where that is asked for:
    its rows without an image have no answer."""

    chosen: AnswerLogps
    rejected: AnswerLogps
    misled: AnswerLogps | None = None


@dataclass(frozen=True)
class Reference:
    """What the policy is compared with: S_ref of each answer, and where the chosen answer stood at the start."""

    chosen: Tensor  # (B,)
    rejected: Tensor  # (B,)
    misled: Tensor  # (B,)
    start: Tensor  # (B,) log-prob of the whole chosen answer when the run began

    @classmethod
    def from_table(cls, table: Tensor) -> Reference:  # (B, 4)
        return cls(*table.unbind(-1))


@dataclass(frozen=True)
class Losses:
    """Per pair, so that sums over micro-batches and workers stay exact."""

    loss: Tensor  # (B,)
    metrics: dict[str, Tensor]  # (B,) each, detached


def answer_score(answers: AnswerLogps, gamma: float, normalize: bool) -> Tensor:  # (B,)
    """S(y|x) of Eq. 5: corrected tokens weigh gamma, the others 1; divided by N, their sum, if `normalize`.

    A row without an answer scores 0.
    """
    weights = answers.is_answer * (1 + (gamma - 1) * answers.is_corrected.to(answers.logps.dtype))  # (B, T)
    total = (weights * answers.logps).sum(-1)
    return total / weights.sum(-1).clamp(min=1) if normalize else total


def preference_loss(margins: Tensor, label_smoothing: float = 0.0) -> Tensor:  # (B,)
    """Eq. 3 of RLHF-V on reward margins, where a reward is beta * (S_policy - S_ref).

    With `label_smoothing` e a pair is taken to be the wrong way round with probability e, as in conservative DPO:
    -(1 - e) log sigmoid(margin) - e log sigmoid(-margin).
    """
    return -(1 - label_smoothing) * F.logsigmoid(margins) - label_smoothing * F.logsigmoid(-margins)


def anchor_loss(chosen: AnswerLogps) -> Tensor:  # (B,)
    """Mean negative log-prob per token of the chosen answer: holds it up while the margin grows."""
    return -chosen.logps.sum(-1) / chosen.is_answer.sum(-1)


def reference_table(pairs: PairLogps, config: ObjectiveConfig) -> Tensor:  # (B, 4)
    """The columns of `Reference` if the model of `pairs` is both the reference and the start."""
    chosen, rejected, misled = _scores(pairs, config)
    return torch.stack([chosen, rejected, misled, pairs.chosen.logps.sum(-1)], dim=-1)


def pair_losses(pairs: PairLogps, reference: Reference, config: ObjectiveConfig) -> Losses:
    """The weighted sum of the terms, and what to log about it. Terms that weigh nothing are not in the graph."""
    chosen, rejected, misled = _scores(pairs, config)
    chosen_rewards = config.beta * (chosen - reference.chosen)
    rejected_rewards = config.beta * (rejected - reference.rejected)
    margins = chosen_rewards - rejected_rewards
    anchor = anchor_loss(pairs.chosen)
    image_margins = _image_margins(pairs, chosen_rewards, config.beta * (misled - reference.misled))

    loss = torch.zeros_like(margins)
    if config.preference_weight:
        loss = loss + config.preference_weight * preference_loss(margins, config.label_smoothing)
    if config.anchor_weight:
        loss = loss + config.anchor_weight * anchor
    if pairs.misled is not None:
        has_image = pairs.misled.is_answer.any(-1)
        loss = loss + config.image_contrast_weight * has_image * preference_loss(image_margins)
    metrics = {
        "loss": loss,
        "nll_loss": anchor,
        "rewards/chosen": chosen_rewards,
        "rewards/rejected": rejected_rewards,
        "rewards/margins": margins,
        "rewards/accuracies": (margins > 0).to(margins.dtype),
        "rewards/image_margins": image_margins,
        "logps/chosen": pairs.chosen.logps.sum(-1),
        "logps/rejected": pairs.rejected.logps.sum(-1),
        "logps/chosen_change": pairs.chosen.logps.sum(-1) - reference.start,
    }
    return Losses(loss, {name: value.detach() for name, value in metrics.items()})


def _scores(pairs: PairLogps, config: ObjectiveConfig) -> tuple[Tensor, Tensor, Tensor]:
    """S of the chosen, the rejected and the misled answer, (B,) each."""
    chosen, rejected = (
        answer_score(side, config.gamma, config.normalize) for side in (pairs.chosen, pairs.rejected)
    )
    if pairs.misled is None:
        return chosen, rejected, torch.zeros_like(chosen)
    return chosen, rejected, answer_score(pairs.misled, config.gamma, config.normalize)


def _image_margins(pairs: PairLogps, rewards: Tensor, misled_rewards: Tensor) -> Tensor:
    """How much more the same answer is rewarded about its own image; 0 where there is none to corrupt."""
    if pairs.misled is None:
        return torch.zeros_like(rewards)
    return (rewards - misled_rewards) * pairs.misled.is_answer.any(-1)
