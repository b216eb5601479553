"""Fast log-probs are the plain ones: loss and every gradient, in each architecture, however pairs are batched."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, paligemma, paligemma_prompt, recurrent, recurrent_prompt
from plain import one_thread, plain_logps, plain_loss, with_random_adapter

from align.adapter import attach_adapter
from align.config import ForwardConfig, LoraSettings, ObjectiveConfig
from align.dataset import PreparedPair
from align.forward import PairForward
from align.objective import PairLogps, Reference, pair_losses, reference_table
from align.pairs import Answer, Pair
from align.rendering import Rendered

OBJECTIVES = [
    ObjectiveConfig(),
    ObjectiveConfig(gamma=3.0, normalize=False, beta=0.1, anchor_weight=0.0),
]
EOS = 2
END = (EOS,)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def pairs_of(
    name: str, model: Any, answers: list[tuple[tuple[int, ...], tuple[int, ...]]]
) -> list[PreparedPair]:
    prompts = [ARCHITECTURES[name].make_prompt(model, number) for number in range(len(answers) - 1)]
    prompts.append(Rendered((1, 40, 41, 42), {}))  # no image
    return [prepared(prompt, *both) for prompt, both in zip(prompts, answers, strict=True)]


def prepared(prompt: Rendered, chosen: tuple[int, ...], rejected: tuple[int, ...]) -> PreparedPair:
    return PreparedPair(Pair("pair", answer(chosen), answer(rejected)), prompt)


def answer(token_ids: tuple[int, ...]) -> Answer:
    """Every third token weighs more: whether it is common to both does not matter to the sum."""
    return Answer(token_ids, tuple(place % 3 == 1 for place in range(len(token_ids))))


def words(seed: int, num: int) -> tuple[int, ...]:
    generator = random.Random(seed)
    return tuple(generator.randrange(50, 350) for _ in range(num))


ANSWERS = [
    ((*words(0, 5), *words(1, 4), *END), (*words(0, 5), *words(2, 7), *END)),
    ((*words(3, 3), *END), (*words(4, 8), *END)),  # nothing in common
    ((*words(5, 6), *END), (*words(5, 6), *words(6, 3), *END)),  # a deletion at the end
    ((*words(7, 4), *words(8, 2)), words(7, 4)),  # cut answers, one the beginning of the other
    ((*words(9, 60), *words(10, 20), *END), (*words(9, 60), *words(11, 25), *END)),  # longer than a window
    ((*words(12, 2), *words(13, 1), *END), (*words(12, 2), *words(14, 1), *END)),
]


def adapted(model: Any) -> Any:
    return with_random_adapter(attach_adapter(model, LoraSettings(rank=4)).eval())


def fast_loss(
    policy: Any, pairs: list[PreparedPair], objective: ObjectiveConfig, forward: PairForward
) -> torch.Tensor:
    with torch.no_grad(), policy.disable_adapter():
        reference = Reference.from_table(reference_table(PairLogps(*forward(pairs)), objective))
    return pair_losses(PairLogps(*forward(pairs)), reference, objective).loss.mean()


def gradients(policy: Any) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad for name, parameter in policy.named_parameters() if parameter.requires_grad}
    policy.zero_grad(set_to_none=True)
    return {name: gradient for name, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize("objective", OBJECTIVES, ids=["dense", "sums"])
@pytest.mark.parametrize("share_prefix", [True, False], ids=["shared", "apart"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loss_and_every_gradient_equal_those_of_the_plain_form(
    name: str, share_prefix: bool, objective: ObjectiveConfig
) -> None:
    policy = adapted(ARCHITECTURES[name].model())
    pairs = pairs_of(name, policy, ANSWERS)
    expected = plain_loss(policy, ARCHITECTURES[name].model(), pairs, objective)
    expected.backward()
    expected_gradients = gradients(policy)

    forward = PairForward(policy, pairs, ForwardConfig(share_prefix=share_prefix))
    assert (forward.why_apart is None) == share_prefix
    assert forward._head is not None
    for _ in range(2):  # features computed, then remembered
        loss = fast_loss(policy, pairs, objective, forward)
        loss.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
        found = gradients(policy)
        assert found.keys() == expected_gradients.keys()
        for parameter, gradient in found.items():
            torch.testing.assert_close(
                gradient, expected_gradients[parameter], rtol=1e-4, atol=2e-6, msg=parameter
            )


def test_checkpointed_gradients_are_the_same() -> None:
    policy = adapted(ARCHITECTURES["llava"].model()).train()
    pairs = pairs_of("llava", policy, ANSWERS)
    forward = PairForward(policy, pairs, ForwardConfig())
    fast_loss(policy, pairs, OBJECTIVES[0], forward).backward()
    expected = gradients(policy)
    forward = PairForward(policy, pairs, ForwardConfig(gradient_checkpointing=True))
    assert policy.get_base_model().is_activation_checkpointing
    fast_loss(policy, pairs, OBJECTIVES[0], forward).backward()
    for name, gradient in gradients(policy).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-7)


def test_each_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = adapted(ARCHITECTURES["llava"].model())
    pairs = pairs_of("llava", policy, ANSWERS)
    num_encoded = []
    encode = type(policy.get_base_model()).get_image_features

    @functools.wraps(encode)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        num_encoded.append(len(kwargs["pixel_values"]))
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(type(policy.get_base_model()), "get_image_features", counted)
    forward = PairForward(policy, pairs, ForwardConfig())
    for _ in range(3):
        forward(pairs)
    assert sum(num_encoded) == len({image_id for pair in pairs for image_id in pair.prompt.image_ids})


def test_features_beyond_the_limit_are_computed_again_and_right() -> None:
    policy = adapted(ARCHITECTURES["llava"].model())
    pairs = pairs_of("llava", policy, ANSWERS)
    expected = PairForward(policy, pairs, ForwardConfig(image_cache_bytes=0))(pairs)
    one_image = 16 * 64 * 4
    forward = PairForward(policy, pairs, ForwardConfig(image_cache_bytes=2 * one_image))
    for _ in range(2):
        for found, side in zip(forward(pairs), expected, strict=True):
            torch.testing.assert_close(found.logps, side.logps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make_model", "make_prompt", "reason"),
    [(recurrent, recurrent_prompt, "one order only"), (paligemma, paligemma_prompt, "other log-probs")],
    ids=["lfm2_vl", "paligemma"],
)
def test_a_model_that_cannot_share_reads_apart_and_says_so(
    make_model: Any, make_prompt: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    policy = adapted(make_model().eval())
    pairs = [prepared(make_prompt(policy, number), *ANSWERS[number]) for number in range(3)]
    with caplog.at_level(logging.WARNING):
        forward = PairForward(policy, pairs, ForwardConfig())
    assert reason in str(forward.why_apart)
    assert reason in caplog.text
    found = forward(pairs)
    for row, pair in enumerate(pairs):
        for side, answers in zip((pair.pair.chosen, pair.pair.rejected), found, strict=True):
            torch.testing.assert_close(
                answers.logps[row, : len(side.token_ids)],
                plain_logps(policy, pair.prompt, side),
                rtol=1e-4,
                atol=1e-4,
            )


def test_bfloat16_is_near_float32() -> None:
    model = ARCHITECTURES["llava"].model()
    pairs = pairs_of("llava", model, ANSWERS)
    exact = PairForward(model, pairs, ForwardConfig())(pairs)
    rounded = PairForward(model, pairs, ForwardConfig(precision="bfloat16"))(pairs)
    for near, side in zip(rounded, exact, strict=True):
        assert near.logps.dtype == torch.float32
        torch.testing.assert_close(near.logps.sum(-1), side.logps.sum(-1), rtol=0.02, atol=0.2)
        assert not torch.equal(near.logps, side.logps)
