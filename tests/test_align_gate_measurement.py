from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from corrections import accepted_answers, corrections
from tiny_models import tiny_llava
from transformers import AutoModelForImageTextToText

from align.config import GateConfig, LoraSettings, ObjectiveConfig, TrainingConfig
from align.conversation import Conversation, Message, Text
from align.examples import Example
from align.gate.measurement import coverage, greedy_answers, is_readable, measure, undisputed_words
from align.rendering import Renderer
from align.spans import Span
from align.training import train

CONFIG = GateConfig(max_new_tokens=8, batch_size=3)
TRAINING = TrainingConfig(
    objective=ObjectiveConfig(beta=0.5),
    lora=LoraSettings(rank=4),
    learning_rate=5e-3,
    num_epochs=2,
    batch_size=4,
    micro_batch_size=4,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "adapter"
    train(base, corrections(base, 10), TRAINING, folder)
    return folder


def measured(base: Path, live: Path | None, candidate: Path | None, **kwargs: Any) -> Any:
    corrected, accepted = corrections(base, 5), accepted_answers(base, 4, start=5)
    return measure(base, live, candidate, corrected, accepted, CONFIG, ObjectiveConfig(), **kwargs)


def test_a_trained_adapter_prefers_the_corrected_answers_more_than_the_base(
    base: Path, adapter: Path
) -> None:
    items, general = measured(base, None, adapter)
    assert [item.id for item in items] == [example.id for example in corrections(base, 5)]
    assert [item.id for item in general] == [example.id for example in accepted_answers(base, 4, start=5)]
    assert sum(item.candidate.margin - item.live.margin for item in items) / 5 > 0.1
    assert all(item.live.margin == item.candidate.margin == 0 for item in general)


def test_live_and_candidate_are_not_mixed_up(base: Path, adapter: Path) -> None:
    forward, _ = measured(base, None, adapter)
    backward, _ = measured(base, adapter, None)
    for one, other in zip(forward, backward, strict=True):
        assert one.live.margin == pytest.approx(other.candidate.margin, abs=1e-5)
        assert one.candidate.margin == pytest.approx(other.live.margin, abs=1e-5)
        assert one.live.num_words == other.candidate.num_words


def test_an_adapter_measured_against_itself_differs_in_nothing(base: Path, adapter: Path) -> None:
    for items in measured(base, adapter, adapter):
        assert all(item.live == item.candidate for item in items)


def test_an_example_that_cannot_be_read_is_left_out(base: Path) -> None:
    good, bad = corrections(base, 2)
    broken = replace(bad, images=dict.fromkeys(bad.images, b"no image"))
    items, _ = measure(base, None, None, [good, broken], [], CONFIG, ObjectiveConfig())
    assert [item.id for item in items] == [good.id]


def test_answers_in_a_batch_equal_those_of_generate_alone(base: Path) -> None:
    renderer = Renderer.from_pretrained(base)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()
    examples = corrections(base, 3)
    longer = Conversation(
        (Message("system", (Text("Be brief, please."),)), *examples[1].conversation.messages)
    )
    prompts = [
        renderer.render(example.conversation, example.images)
        for example in (examples[0], replace(examples[1], conversation=longer), examples[2])
    ]
    alone = []
    for prompt in prompts:
        ids = torch.tensor([prompt.input_ids])
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **prompt.tensors, max_new_tokens=8
        )
        alone.append(renderer.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
    assert greedy_answers(model, prompts, renderer, 8) == alone


def test_undisputed_words_are_those_outside_the_spans() -> None:
    example = Example("e", Conversation(()), {}, "A red cup and a dog.", (), "", (Span(2, 5, "blue"),))
    assert undisputed_words(example) == {"a", "cup", "and", "dog"}


def test_coverage_counts_each_undisputed_word_once() -> None:
    assert coverage("The dog, the cup!", {"dog", "cup", "lamp", "the"}) == 0.75
    assert coverage("", {"dog"}) == 0.0
    assert coverage("anything", set()) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There is a red cup on the left and a green lamp on the right of the table.", True),
        ("No.", True),
        ("Yes, yes, yes!", True),
        ("", False),
        (" \n.", False),
        ("a cup " * 20, False),
        ("There is a cup. " + "the the " * 12, False),
        ("��� cup ��", False),
    ],
)
def test_empty_broken_and_stuck_answers_are_not_readable(text: str, expected: bool) -> None:
    assert is_readable(text) is expected
