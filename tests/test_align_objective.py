from __future__ import annotations

import math

import pytest
import torch

from align.config import ObjectiveConfig
from align.objective import AnswerLogps, anchor_loss, answer_score, dense_dpo, preference_loss

PLAIN = ObjectiveConfig(beta=0.1, gamma=1, normalize=False, anchor_weight=0)
DENSE = ObjectiveConfig(beta=0.5, gamma=5, normalize=True, anchor_weight=0)


def answers(logps: list[float], corrected: list[int], padding: int = 0) -> AnswerLogps:
    """One answer; padded positions hold zeros, as the forward pass leaves them."""
    length = len(logps)
    return AnswerLogps(
        torch.tensor([logps + [0.0] * padding], requires_grad=True),
        torch.tensor([[True] * length + [False] * padding]),
        torch.tensor([[bool(flag) for flag in corrected] + [False] * padding]),
    )


def test_the_score_weighs_corrected_tokens_and_divides_by_n() -> None:
    answer = answers([-1.0, -2.0, -3.0], [0, 1, 0], padding=2)
    # (-1 - 3 + 5 * -2) / (2 + 5 * 1)
    assert answer_score(answer, gamma=5, normalize=True).item() == pytest.approx(-14 / 7)
    assert answer_score(answer, gamma=5, normalize=False).item() == pytest.approx(-14)


def test_each_side_has_its_own_n() -> None:
    chosen = answers([-1.0, -1.0, -1.0, -1.0], [0, 1, 1, 0])
    rejected = answers([-1.0, -1.0], [0, 0])
    assert answer_score(chosen, 5, True).item() == answer_score(rejected, 5, True).item() == -1.0


def test_the_loss_is_that_worked_by_hand() -> None:
    chosen, rejected = answers([-1.0, -2.0], [0, 1]), answers([-1.0, -4.0, -1.0], [0, 1, 0])
    reference = torch.tensor([[-3.0, -2.5]])
    losses = dense_dpo(chosen, rejected, reference, DENSE)
    chosen_score, rejected_score = (-1 - 10) / 6, (-2 - 20) / 7
    chosen_reward, rejected_reward = 0.5 * (chosen_score + 3.0), 0.5 * (rejected_score + 2.5)
    margin = chosen_reward - rejected_reward
    assert losses.loss.item() == pytest.approx(math.log1p(math.exp(-margin)))
    assert {name: value.item() for name, value in losses.metrics.items()} == pytest.approx(
        {
            "loss": math.log1p(math.exp(-margin)),
            "rewards/chosen": chosen_reward,
            "rewards/rejected": rejected_reward,
            "rewards/margins": margin,
            "rewards/accuracies": 1.0,
            "logps/chosen": -3.0,
            "logps/rejected": -6.0,
        }
    )


def test_gamma_one_without_n_is_ordinary_dpo() -> None:
    chosen, rejected = answers([-1.0, -2.0], [0, 1]), answers([-2.0, -2.5, -0.5], [1, 1, 0])
    losses = dense_dpo(chosen, rejected, torch.tensor([[-3.5, -4.0]]), PLAIN)
    log_ratio = (-3.0 + 3.5) - (-5.0 + 4.0)
    assert losses.loss.item() == pytest.approx(-math.log(1 / (1 + math.exp(-0.1 * log_ratio))))


def test_without_any_change_to_the_policy_the_loss_is_log_two() -> None:
    side = answers([-1.0, -2.0], [0, 1])
    score = answer_score(side, DENSE.gamma, DENSE.normalize).detach()
    losses = dense_dpo(side, side, torch.stack([score, score], dim=1), DENSE)
    assert losses.loss.item() == pytest.approx(math.log(2))
    assert losses.metrics["rewards/accuracies"].item() == 0.0


def test_the_gradient_raises_the_chosen_answer_and_most_where_it_was_corrected() -> None:
    chosen, rejected = answers([-1.0, -2.0, -1.0], [0, 1, 0], padding=1), answers([-1.0, -2.0], [0, 1])
    dense_dpo(chosen, rejected, torch.zeros(1, 2), DENSE).loss.sum().backward()
    up, down = chosen.logps.grad, rejected.logps.grad
    assert up is not None
    assert down is not None
    # descending on the loss moves against the gradient
    assert (up[0, :3] < 0).all()
    assert (down > 0).all()
    assert up[0, 1].item() == pytest.approx(5 * up[0, 0].item())
    assert down[0, 1].item() == pytest.approx(5 * down[0, 0].item())
    assert up[0, 3] == 0, "padding must not pull"


def test_the_anchor_is_the_mean_negative_log_prob_of_the_chosen_answer() -> None:
    chosen, rejected = answers([-1.0, -2.0], [0, 1], padding=3), answers([-9.0], [1])
    assert anchor_loss(chosen).item() == pytest.approx(1.5)
    bare = dense_dpo(chosen, rejected, torch.zeros(1, 2), DENSE).loss
    anchored = dense_dpo(
        chosen, rejected, torch.zeros(1, 2), DENSE.model_copy(update={"anchor_weight": 0.4})
    ).loss
    assert (anchored - bare).item() == pytest.approx(0.4 * 1.5)


def test_the_loss_falls_as_the_margin_grows() -> None:
    margins = torch.linspace(-30, 30, 61)
    losses = preference_loss(margins, torch.zeros(61))
    assert (losses.diff() < 0).all()
    assert losses.isfinite().all()
