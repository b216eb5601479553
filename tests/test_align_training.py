from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from corrections import accepted_answers, corrections
from peft import PeftModel
from plain import one_thread, plain_loss, plain_score, with_random_adapter
from structlog.testing import capture_logs
from tiny_models import tiny_llava
from transformers import AutoModelForImageTextToText

from align.adapter import attach_adapter, load_adapter, save_adapter
from align.checkpoints import Checkpoint
from align.config import LoraSettings, ObjectiveConfig, SftFirst, TrainingConfig
from align.conversation import Conversation, Image, Message, Text
from align.dataset import PreparedPair, prepare_pairs
from align.errors import NothingToLearn, TrainingFailed
from align.examples import Example
from align.objective import METRIC_NAMES
from align.rendering import Renderer
from align.spans import Span
from align.steps import TrainingRun
from align.training import TrainingResult, train

QUICK = TrainingConfig(
    objective=ObjectiveConfig(preference_weight=1.0, beta=0.5),
    lora=LoraSettings(rank=4),
    learning_rate=5e-3,
    num_epochs=2,
    batch_size=4,
    micro_batch_size=4,
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(base, corrections(base, 10), QUICK, tmp_path_factory.mktemp("run") / "adapter")


def load(base: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()


def prepared(base: Path, num: int, objective: ObjectiveConfig = QUICK.objective) -> list[PreparedPair]:
    return prepare_pairs(corrections(base, num), Renderer.from_pretrained(base), 4096, objective)[0]


def test_reference_scores_equal_those_of_a_separately_loaded_base(base: Path) -> None:
    pairs = prepared(base, 6)
    run = TrainingRun(attach_adapter(load(base), QUICK.lora), pairs, QUICK)
    with torch.no_grad():
        expected = torch.tensor(
            [
                [
                    plain_score(load(base), p.prompt, answer, QUICK.objective)
                    for answer in (p.pair.chosen, p.pair.rejected)
                ]
                for p in pairs
            ]
        )
    torch.testing.assert_close(run.reference[:, :2], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("image_contrast_weight", [0.0, 0.7])
@pytest.mark.parametrize("micro_batch_size", [5, 2])
def test_loss_and_gradients_equal_those_of_the_plain_form(
    base: Path, micro_batch_size: int, image_contrast_weight: float
) -> None:
    objective = QUICK.objective.model_copy(update={"image_contrast_weight": image_contrast_weight})
    pairs = prepared(base, 5, objective)
    assert all((pair.misleading is not None) == bool(image_contrast_weight) for pair in pairs)
    model = with_random_adapter(attach_adapter(load(base), QUICK.lora))
    changes = {"micro_batch_size": micro_batch_size, "objective": objective}
    run = TrainingRun(model, pairs, QUICK.model_copy(update=changes))
    metrics = run.gather_gradients(list(range(5)))
    gradients = [parameter.grad.clone() for parameter in run.parameters if parameter.grad is not None]

    for parameter in run.parameters:
        parameter.grad = None
    loss = plain_loss(model, load(base), pairs, objective)
    loss.backward()
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for parameter, gradient in zip(run.parameters, gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_training_raises_the_margins(trained: TrainingResult) -> None:
    assert trained.num_pairs == 10
    assert len(trained.history) == 2 * 3
    assert set(METRIC_NAMES) <= trained.history[0].keys()
    assert trained.history[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert trained.final["rewards/margins"] > 0.1
    assert trained.final["rewards/accuracies"] > 0.7
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert trained.history[0]["logps/chosen_change"] == pytest.approx(0, abs=1e-4)
    assert trained.final["logps/chosen_change"] > 0.1
    assert list(trained.margin_quartiles) == sorted(trained.margin_quartiles)
    mean = sum(trained.margin_quartiles) / 4
    assert mean == pytest.approx(trained.final["rewards/margins"], rel=1e-3)
    assert trained.warnings == ()


def test_a_run_that_makes_the_chosen_answers_less_likely_warns(
    base: Path, trained: TrainingResult, tmp_path: Path
) -> None:
    # a model that knows the chosen answers, and is then trained so hard that it can say nothing any more
    learned = shutil.copytree(base, tmp_path / "learned")
    load_adapter(load(base), Path(trained.adapter), "v1").merge_and_unload().save_pretrained(learned)
    too_hard = QUICK.model_copy(update={"learning_rate": 0.5})
    with capture_logs() as logs:
        result = train(learned, corrections(base, 10), too_hard, tmp_path / "adapter")
    assert result.final["logps/chosen_change"] < 0
    assert "less likely than at the start" in result.warnings[-1]
    assert [log["event"] for log in logs] == ["chosen_answers_fell"] * len(result.warnings)


def test_sft_first_trains_on_the_chosen_answers_and_then_measures_against_what_it_became(base: Path) -> None:
    objective = QUICK.objective.model_copy(update={"sft_first": SftFirst(num_epochs=2, learning_rate=5e-3)})
    pairs = prepared(base, 6)
    run = TrainingRun(
        attach_adapter(load(base), QUICK.lora), pairs, QUICK.model_copy(update={"objective": objective})
    )
    of_base = run.reference.clone()
    history = list(run.steps())
    assert [metrics["epoch"] for metrics in history] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert history[0]["loss"] == pytest.approx(history[0]["nll_loss"])
    assert history[3]["nll_loss"] < history[0]["nll_loss"]
    assert history[4]["rewards/margins"] == pytest.approx(0, abs=1e-5), (
        "the preference starts from the SFT model"
    )
    assert history[4]["logps/chosen_change"] > 0.1, "but the change counts from the base"
    assert (run.reference[:, 0] > of_base[:, 0]).all()
    assert torch.equal(run.reference[:, 3], of_base[:, 3])


@pytest.mark.parametrize("num_steps", [1, 2, 3], ids=["in SFT", "between", "after it"])
def test_a_run_of_two_stages_goes_on_where_it_was(base: Path, num_steps: int) -> None:
    objective = QUICK.objective.model_copy(update={"sft_first": SftFirst(learning_rate=5e-3)})
    config = QUICK.model_copy(update={"objective": objective, "num_epochs": 1})
    pairs = prepared(base, 6, objective)

    def run(checkpoint: Checkpoint | None = None) -> TrainingRun:
        torch.manual_seed(0)
        return TrainingRun(attach_adapter(load(base), QUICK.lora), pairs, config, checkpoint)

    whole, broken = run(), run()
    list(whole.steps())
    list(islice(broken.steps(), num_steps))
    resumed = run(broken.checkpoint())
    list(resumed.steps())
    assert resumed.history == whole.history
    assert torch.equal(resumed.reference, whole.reference)
    assert torch.equal(resumed.margins, whole.margins)


def test_a_trained_adapter_gives_the_same_logits_in_plain_peft(base: Path, tmp_path: Path) -> None:
    pairs = prepared(base, 6)
    run = TrainingRun(attach_adapter(load(base), QUICK.lora), pairs, QUICK)
    list(run.steps())
    save_adapter(run.model, tmp_path / "v1", str(base))
    trained = run.model.eval()
    plain = PeftModel.from_pretrained(load(base), str(tmp_path / "v1")).eval()
    untrained = load(base)
    for pair in pairs:
        inputs = {"input_ids": torch.tensor([[*pair.prompt.input_ids, *pair.pair.chosen.token_ids]])}
        with torch.no_grad():
            mine, theirs, before = (
                model(**inputs, **pair.prompt.tensors).logits for model in (trained, plain, untrained)
            )
        torch.testing.assert_close(theirs, mine, rtol=0, atol=0)
        assert not torch.allclose(theirs, before, atol=1e-2)


def test_the_adapter_holds_what_was_trained(base: Path, trained: TrainingResult) -> None:
    policy = load_adapter(load(base), Path(trained.adapter), "v1").eval()
    pairs = prepared(base, 10)
    with torch.no_grad():
        loss = plain_loss(policy, load(base), pairs, QUICK.objective).item()
    assert loss < trained.history[0]["loss"] - 0.1


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(
    base: Path, trained: TrainingResult, tmp_path: Path
) -> None:
    examples = corrections(base, 10)
    torch.manual_seed(123)
    again = train(base, examples, QUICK, tmp_path / "again")
    other = train(base, examples, QUICK.model_copy(update={"seed": 1}), tmp_path / "other")
    assert again.digest == trained.digest
    assert other.digest != trained.digest


def test_training_leaves_the_callers_generator_and_threads_alone(base: Path, tmp_path: Path) -> None:
    state, num_threads = torch.get_rng_state(), torch.get_num_threads()
    train(base, corrections(base, 2), QUICK.model_copy(update={"num_epochs": 1}), tmp_path / "adapter")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == num_threads


def test_every_step_is_reported_as_it_happens(base: Path, tmp_path: Path) -> None:
    steps: list[dict[str, float]] = []
    result = train(base, corrections(base, 5), QUICK, tmp_path / "adapter", steps.append)
    assert tuple(steps) == result.history
    assert [metrics["step"] for metrics in steps] == [1, 2, 3, 4]


def mixed(base: Path) -> list[Example]:
    """Corrections to conversations without an image, with one, with several, and over several turns."""
    first, second, third, fourth = corrections(base, 4)
    images = {**first.images, **second.images, **third.images}
    one, two, three = (Image(sha256) for sha256 in images)
    several = Message("user", (one, Text("Compare:"), two, three))
    turns = (Message("user", (one, Text("What is there?"))), Message("assistant", (Text("A cup."),)))
    return [
        replace(first, conversation=Conversation((Message("user", (Text("Hello"),)),)), images={}),
        second,
        replace(third, conversation=Conversation((several,)), images=images),
        replace(
            fourth,
            conversation=Conversation((*turns, Message("user", (two, Text("And here?"))))),
            images=images,
        ),
    ]


@pytest.mark.parametrize("image_contrast_weight", [0.0, 0.7])
def test_conversations_of_every_kind_are_learned_from_in_one_batch(
    base: Path, image_contrast_weight: float
) -> None:
    objective = QUICK.objective.model_copy(update={"image_contrast_weight": image_contrast_weight})
    pairs, skipped = prepare_pairs(mixed(base), Renderer.from_pretrained(base), 4096, objective)
    assert skipped == []
    assert [len(pair.prompt.image_ids) for pair in pairs] == [0, 1, 3, 2]
    model = attach_adapter(load(base), QUICK.lora)
    run = TrainingRun(model, pairs, QUICK.model_copy(update={"objective": objective}))
    metrics = run.gather_gradients([0, 1, 2, 3])
    assert metrics["loss"] == pytest.approx(plain_loss(model, load(base), pairs, objective).item(), rel=1e-5)


def test_a_conversation_that_does_not_fit_fails_by_its_name_and_is_never_cut(base: Path) -> None:
    renderer = Renderer.from_pretrained(base)
    pairs, _ = prepare_pairs(mixed(base), renderer, 4096, QUICK.objective)
    longest = max(pairs, key=lambda pair: pair.length)
    kept, skipped = prepare_pairs(mixed(base), renderer, longest.length - 1, QUICK.objective)
    assert [skip.example_id for skip in skipped] == [longest.pair.example_id]
    assert str(longest.length) in skipped[0].reason
    whole = {pair.pair.example_id: pair.prompt.input_ids for pair in pairs}
    assert [pair.prompt.input_ids for pair in kept] == [whole[pair.pair.example_id] for pair in kept]
    placeholder = renderer.tokenizer.convert_tokens_to_ids("<image>")
    assert [pair.prompt.input_ids.count(placeholder) for pair in pairs] == [0, 4, 12, 8]


def test_examples_that_make_no_pair_are_named_with_the_reason(base: Path, tmp_path: Path) -> None:
    good, bad = corrections(base, 2)
    damaged = replace(bad, id="bad", images=dict.fromkeys(bad.images, b"no image"))
    accepted = replace(accepted_answers(base, 1, start=5)[0], id="accepted")
    result = train(base, [good, damaged, accepted], QUICK, tmp_path / "adapter")
    assert result.num_pairs == 1
    assert {skip.example_id: skip.reason.split()[-1] for skip in result.skipped}.keys() == {"bad", "accepted"}
    assert any("changes nothing" in skip.reason for skip in result.skipped)


def test_pairs_that_are_too_long_are_left_out(base: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToLearn, match="exceed the 12 that fit"):
        train(base, corrections(base, 2), QUICK.model_copy(update={"max_length": 12}), tmp_path / "adapter")


def test_pairs_longer_than_the_models_positions_are_left_out(base: Path, tmp_path: Path) -> None:
    example = corrections(base, 1)[0]
    words = "The sun is yellow. " * 200
    ids = Renderer.from_pretrained(base).tokenizer.encode(words, add_special_tokens=False)
    long = replace(
        example,
        served_text=words,
        served_token_ids=tuple(ids),
        corrected_text=words + "No dog.",
        spans=(Span(len(words), len(words), "No dog."),),
    )
    with pytest.raises(NothingToLearn, match="exceed the 512 that fit"):
        train(base, [long], QUICK, tmp_path / "adapter")


def test_no_corrections_are_nothing_to_learn_from(base: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToLearn, match="no corrections"):
        train(base, [], QUICK, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_a_loss_that_is_no_number_ends_the_run_without_an_adapter(base: Path, tmp_path: Path) -> None:
    wild = QUICK.model_copy(update={"learning_rate": 1e30, "warmup_ratio": 0.0})
    with pytest.raises(TrainingFailed, match="lower learning_rate"):
        train(base, corrections(base, 5), wild, tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []
