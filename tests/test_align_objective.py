from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from align.config import ObjectiveConfig
from align.objective import (
    METRIC_NAMES,
    AnswerLogps,
    Losses,
    PairLogps,
    Reference,
    anchor_loss,
    answer_score,
    pair_losses,
    preference_loss,
    reference_table,
)

PLAIN = ObjectiveConfig(preference_weight=1, beta=0.1, gamma=1, normalize=False, anchor_weight=0)
DENSE = ObjectiveConfig(preference_weight=1, beta=0.5, gamma=5, normalize=True, anchor_weight=0)


def answers(logps: list[float], corrected: list[int], padding: int = 0) -> AnswerLogps:
    """One answer; padded positions hold zeros, as the forward pass leaves them."""
    length = len(logps)
    return AnswerLogps(
        torch.tensor([logps + [0.0] * padding], requires_grad=True),
        torch.tensor([[True] * length + [False] * padding]),
        torch.tensor([[bool(flag) for flag in corrected] + [False] * padding]),
    )


def losses_of(
    chosen: AnswerLogps,
    rejected: AnswerLogps,
    config: ObjectiveConfig,
    reference: tuple[float, float, float, float] = (0, 0, 0, 0),
    misled: AnswerLogps | None = None,
) -> Losses:
    table = torch.tensor([reference], dtype=torch.float32)
    return pair_losses(PairLogps(chosen, rejected, misled), Reference.from_table(table), config)


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
    losses = losses_of(chosen, rejected, DENSE, (-3.0, -2.5, 0.0, -3.5))
    chosen_score, rejected_score = (-1 - 10) / 6, (-2 - 20) / 7
    chosen_reward, rejected_reward = 0.5 * (chosen_score + 3.0), 0.5 * (rejected_score + 2.5)
    margin = chosen_reward - rejected_reward
    assert losses.loss.item() == pytest.approx(math.log1p(math.exp(-margin)))
    assert {name: value.item() for name, value in losses.metrics.items()} == pytest.approx(
        {
            "loss": math.log1p(math.exp(-margin)),
            "nll_loss": 1.5,
            "rewards/chosen": chosen_reward,
            "rewards/rejected": rejected_reward,
            "rewards/margins": margin,
            "rewards/accuracies": 1.0,
            "rewards/image_margins": 0.0,
            "logps/chosen": -3.0,
            "logps/rejected": -6.0,
            "logps/chosen_change": 0.5,
        }
    )


def test_gamma_one_without_n_is_ordinary_dpo() -> None:
    chosen, rejected = answers([-1.0, -2.0], [0, 1]), answers([-2.0, -2.5, -0.5], [1, 1, 0])
    losses = losses_of(chosen, rejected, PLAIN, (-3.5, -4.0, 0.0, -3.5))
    log_ratio = (-3.0 + 3.5) - (-5.0 + 4.0)
    assert losses.loss.item() == pytest.approx(-math.log(1 / (1 + math.exp(-0.1 * log_ratio))))


def test_without_any_change_to_the_policy_the_loss_is_log_two() -> None:
    pairs = PairLogps(answers([-1.0, -2.0], [0, 1]), answers([-1.0, -4.0], [0, 1]))
    losses = pair_losses(pairs, Reference.from_table(reference_table(pairs, DENSE)), DENSE)
    assert losses.loss.item() == pytest.approx(math.log(2))
    assert losses.metrics["rewards/accuracies"].item() == 0.0
    assert losses.metrics["logps/chosen_change"].item() == 0.0


def test_the_gradient_raises_the_chosen_answer_and_most_where_it_was_corrected() -> None:
    chosen, rejected = answers([-1.0, -2.0, -1.0], [0, 1, 0], padding=1), answers([-1.0, -2.0], [0, 1])
    losses_of(chosen, rejected, DENSE).loss.sum().backward()
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
    bare = losses_of(chosen, rejected, DENSE).loss
    anchored = losses_of(chosen, rejected, DENSE.model_copy(update={"anchor_weight": 0.4})).loss
    assert (anchored - bare).item() == pytest.approx(0.4 * 1.5)


def test_the_loss_falls_as_the_margin_grows() -> None:
    margins = torch.linspace(-30, 30, 61)
    losses = preference_loss(margins)
    assert (losses.diff() < 0).all()
    assert losses.isfinite().all()


def test_label_smoothing_takes_some_pairs_to_be_the_wrong_way_round() -> None:
    margin = torch.tensor([0.8])
    right, wrong = math.log1p(math.exp(-0.8)), math.log1p(math.exp(0.8))
    assert preference_loss(margin, 0.1).item() == pytest.approx(0.9 * right + 0.1 * wrong)
    margins = torch.tensor([math.log(9)], requires_grad=True)  # where sigmoid(margin) is 0.9
    preference_loss(margins, 0.1).sum().backward()
    assert margins.grad is not None
    assert margins.grad.item() == pytest.approx(0, abs=1e-7), "beyond this margin nothing more is gained"


def test_sft_is_the_anchor_alone_and_does_not_touch_the_rejected_answer() -> None:
    chosen, rejected = answers([-1.0, -2.0, -3.0], [0, 1, 0]), answers([-1.0, -4.0], [0, 1])
    losses = losses_of(chosen, rejected, DENSE.of_sft)
    losses.loss.sum().backward()
    assert losses.loss.item() == pytest.approx(2.0)
    assert chosen.logps.grad is not None
    assert chosen.logps.grad[0].tolist() == pytest.approx([-1 / 3] * 3), (
        "corrected tokens weigh no more than others"
    )
    assert rejected.logps.grad is None


def test_the_image_contrast_prefers_the_answer_about_its_own_image() -> None:
    chosen, rejected = answers([-1.0, -2.0], [0, 1]), answers([-1.0, -4.0], [0, 1])
    misled = answers([-3.0, -2.5], [0, 1])
    config = PLAIN.model_copy(update={"preference_weight": 0.0, "image_contrast_weight": 2.0})
    losses = losses_of(chosen, rejected, config, (-4.0, 0.0, -5.0, 0.0), misled)
    margin = 0.1 * ((-3.0 + 4.0) - (-5.5 + 5.0))
    assert losses.metrics["rewards/image_margins"].item() == pytest.approx(margin)
    assert losses.loss.item() == pytest.approx(2 * math.log1p(math.exp(-margin)))
    losses.loss.sum().backward()
    assert chosen.logps.grad is not None
    assert misled.logps.grad is not None
    assert (chosen.logps.grad < 0).all()
    assert (misled.logps.grad > 0).all()


def test_a_pair_without_an_image_has_no_image_contrast() -> None:
    chosen, rejected = answers([-1.0, -2.0], [0, 1]), answers([-1.0, -4.0], [0, 1])
    config = PLAIN.model_copy(update={"image_contrast_weight": 2.0})
    none = answers([-3.0, -2.5], [0, 1]).of(torch.tensor([False]))
    assert answer_score(none, 5, True).item() == 0.0
    with_contrast = losses_of(chosen, rejected, config, misled=none)
    assert with_contrast.loss.item() == losses_of(chosen, rejected, PLAIN).loss.item()
    assert with_contrast.metrics["rewards/image_margins"].item() == 0.0


def test_every_metric_has_one_value_a_pair() -> None:
    losses = losses_of(answers([-1.0], [1]), answers([-2.0], [1]), DENSE)
    assert tuple(losses.metrics) == METRIC_NAMES
    assert {tuple(value.shape) for value in losses.metrics.values()} == {(1,)}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"betta": 0.1}, "betta"),
        ({"weighting": "papers"}, "paper"),
        ({"label_smoothing": 0.5}, "label_smoothing"),
        ({"preference_weight": 0, "anchor_weight": 0}, "nothing would be learned"),
        ({"sft_first": {"epochs": 1}}, "epochs"),
    ],
)
def test_an_objective_that_cannot_be_meant_is_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ObjectiveConfig.model_validate(fields)
