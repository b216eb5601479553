"""Both adapters on the same items, with a tiny model; and each way in which a candidate cannot be measured."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from corrections import accepted_answers, corrections
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_models import byte_fallback_tokenizer, tiny_llava
from transformers import AutoModelForImageTextToText

from align.adapter import attach_adapter, save_adapter
from align.alignment import judge
from align.config import AlignmentConfig, GateConfig, LoraSettings, ObjectiveConfig, TrainingConfig
from align.conversation import Conversation, Image, Message, Text
from align.errors import EvaluationFailed, InvalidAdapter
from align.examples import Example
from align.gate import Measurements, decide
from align.gate.deadline import Deadline
from align.gate.decoding import greedy_answers
from align.gate.items import prepare_items
from align.gate.measurement import divergence, measure
from align.gate.truth import scene_described, truth_of
from align.manifest import Frozen
from align.rendering import Rendered, Renderer
from align.scenes.captions import CAPTION_PROMPTS
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene
from align.state import Blobs, Store
from align.training import train

TRAINING = TrainingConfig(
    objective=ObjectiveConfig(preference_weight=1.0, beta=0.5),
    lora=LoraSettings(rank=4),
    learning_rate=5e-3,
    num_epochs=2,
    batch_size=4,
    micro_batch_size=4,
)
CONFIG = AlignmentConfig(training=TRAINING, gate=GateConfig(max_new_tokens=8, batch_size=3))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "adapter"
    train(base, corrections(base, 10), TRAINING, folder)
    return folder


def measured(base: Path, live: Path | None, candidate: Path | None) -> Measurements:
    return measure(base, live, candidate, corrections(base, 5), accepted_answers(base, 4, start=5), CONFIG)


def test_a_trained_adapter_prefers_the_corrected_answers_more_than_the_base(
    base: Path, adapter: Path
) -> None:
    both = measured(base, None, adapter)
    assert [item.id for item in both.held_out] == [example.id for example in corrections(base, 5)]
    assert [item.id for item in both.general] == [
        example.id for example in accepted_answers(base, 4, start=5)
    ]
    assert sum(item.candidate.margin - item.live.margin for item in both.held_out) / 5 > 0.1
    assert all(item.live.margin == item.candidate.margin == 0 for item in both.general)


def test_live_and_candidate_are_not_mixed_up(base: Path, adapter: Path) -> None:
    forward, backward = measured(base, None, adapter), measured(base, adapter, None)
    pairs = zip((*forward.held_out, *forward.general), (*backward.held_out, *backward.general), strict=True)
    for one, other in pairs:
        assert one.live.margin == pytest.approx(other.candidate.margin, abs=1e-5)
        assert one.candidate.margin == pytest.approx(other.live.margin, abs=1e-5)
        assert one.candidate.divergence == pytest.approx(other.live.divergence, abs=1e-5)
        assert one.live.num_words == other.candidate.num_words


def test_the_divergence_is_that_of_whole_distributions_from_the_base(base: Path, adapter: Path) -> None:
    """Compared with one answer after the other, read by models of their own."""
    measurements = measured(base, None, adapter)
    assert all(item.live.divergence == 0 for item in measurements.general)
    renderer = Renderer.from_pretrained(base)
    alone, adapted = (AutoModelForImageTextToText.from_pretrained(base).eval() for _ in range(2))
    adapted = PeftModel.from_pretrained(adapted, str(adapter)).eval()
    for example, item in zip(accepted_answers(base, 4, start=5), measurements.general, strict=True):
        prompt = renderer.render(example.conversation, example.images)
        ids = torch.tensor([[*prompt.input_ids, *example.served_token_ids]])
        with torch.no_grad():
            p, q = (
                model(input_ids=ids, **prompt.tensors).logits[0, prompt.num_tokens - 1 : -1].log_softmax(-1)
                for model in (alone, adapted)
            )
        expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum") / len(p)
        assert item.candidate.divergence == pytest.approx(float(expected), rel=1e-3)
        assert item.candidate.divergence > 1e-4


def test_the_divergence_of_two_coins_is_that_worked_by_hand() -> None:
    fair, biased = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]])
    assert divergence(fair, biased) == pytest.approx(0.5 * math.log(4 / 3))
    assert divergence(fair.repeat(5, 1), biased.repeat(5, 1)) == pytest.approx(0.5 * math.log(4 / 3))
    assert divergence(biased, biased) == 0


def test_an_adapter_measured_against_itself_differs_in_nothing(base: Path, adapter: Path) -> None:
    both = measured(base, adapter, adapter)
    assert all(item.live == item.candidate for item in (*both.held_out, *both.general))


def test_an_example_that_cannot_be_read_is_left_out_by_name(base: Path) -> None:
    good, bad = corrections(base, 2)
    broken = replace(bad, images=dict.fromkeys(bad.images, b"no image"))
    measurements = measure(base, None, None, [good, broken], [], CONFIG)
    assert [item.id for item in measurements.held_out] == [good.id]
    assert measurements.unfit == (broken.id,)


def test_a_fresh_adapter_changes_nothing_and_is_refused_for_it(base: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(base)
    save_adapter(attach_adapter(model, LoraSettings(rank=4)), tmp_path / "fresh", str(base))
    few = GateConfig(min_items=2, min_general_items=2)
    verdict = decide(measured(base, None, tmp_path / "fresh"), few)
    assert verdict.reasons == (
        "refused: the adapter changes nothing: it scores and answers as the live one does, on every item",
    )


@pytest.fixture(scope="module")
def broken(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter with one weight that is no number."""
    folder = tmp_path_factory.mktemp("broken") / "adapter"
    shutil.copytree(adapter, folder)
    weights = load_file(folder / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = math.nan
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("broken", r"could not be measured: .* holds weights that are not finite; train it again"),
        ("late", r"could not be measured: the evaluation was not done within 0.01 s"),
        ("empty", r"there are no held-out corrections to judge by"),
        ("few", r"only 5 held-out corrections, 20 are needed for a decision"),
    ],
)
def test_a_run_that_cannot_be_judged_is_refused_with_the_reason(
    base: Path, adapter: Path, broken: Path, tmp_path: Path, flaw: str, reason: str
) -> None:
    held_out = [] if flaw == "empty" else corrections(base, 5)
    frozen = Frozen((), held_out, (), (), accepted_answers(base, 30, start=5), 0, "base")
    gate = GateConfig(max_seconds=0.01 if flaw == "late" else 600, max_new_tokens=2)
    store = Store(f"sqlite:///{tmp_path}/errata.db")
    verdict, _ = judge(
        store,
        Blobs(str(tmp_path / "blobs"), cache=tmp_path / "cache"),
        frozen,
        str(base),
        broken if flaw == "broken" else adapter,
        CONFIG.model_copy(update={"gate": gate}),
    )
    store.close()
    assert verdict.decision == "refused"
    assert len(verdict.reasons) == 1
    assert re.search(reason, verdict.reasons[0])


def test_weights_that_are_no_numbers_are_found_before_anything_is_measured(base: Path, broken: Path) -> None:
    with pytest.raises(InvalidAdapter, match="holds weights that are not finite"):
        measured(base, None, broken)


def test_an_evaluation_that_takes_too_long_ends(base: Path, adapter: Path) -> None:
    hasty = CONFIG.model_copy(update={"gate": GateConfig(max_seconds=0.01)})
    with pytest.raises(EvaluationFailed, match=r"not done within 0.01 s; raise gate.max_seconds"):
        measure(base, None, adapter, corrections(base, 5), accepted_answers(base, 4, start=5), hasty)


def test_an_evaluation_that_nobody_waits_for_ends(base: Path, adapter: Path) -> None:
    asked = iter([False, True])
    items = corrections(base, 5), accepted_answers(base, 4, start=5)
    with pytest.raises(EvaluationFailed, match="the run was ended meanwhile"):
        measure(base, None, adapter, *items, CONFIG, lambda: next(asked))


def test_decoding_stops_when_its_time_is_over(base: Path) -> None:
    renderer = Renderer.from_pretrained(base)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()
    (item,), _ = prepare_items(corrections(base, 1), renderer)
    over = Deadline(1e-9)
    with pytest.raises(EvaluationFailed, match="not done within"):
        greedy_answers(model, [item.prompt], renderer, 64, over.check)


def test_a_pause_takes_none_of_the_time_and_ends_with_the_run() -> None:
    pauses = iter([True] * 5 + [False])
    Deadline(0.3, should_pause=lambda: next(pauses)).check()
    with pytest.raises(EvaluationFailed, match="ended meanwhile"):
        Deadline(60.0, lambda: True, lambda: True).check()


def test_a_scene_is_scored_where_a_description_was_asked_for() -> None:
    scene = sample_scene("honest", "test", 0)
    encoded = png_bytes(scene)

    def asked(*parts: Text | Image) -> Example:
        return Example("e", Conversation((Message("user", parts),)), {"sha": encoded}, "", (), "", ())

    prompt = CAPTION_PROMPTS[0]
    assert scene_described(asked(Image("sha"), Text(prompt))) == scene
    assert scene_described(asked(Text(prompt), Image("sha"))) == scene
    assert scene_described(asked(Image("sha"), Text("Is there a cat?"))) is None
    assert scene_described(asked(Image("sha"), Image("sha"), Text(prompt))) is None
    assert scene_described(asked(Text(prompt))) is None
    absent = "There is a red bus and a red bus."
    assert scene.item_of("bus") is None
    assert truth_of(absent, scene).wrong == ("object",)
    assert truth_of(absent, scene).coverage == 0.0


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


def test_an_answer_that_is_cut_within_a_character_keeps_those_before_it() -> None:
    tokenizer = byte_fallback_tokenizer()
    answer = tokenizer.encode("图片", add_special_tokens=False)[:-1]

    class Says:
        device = "cpu"

        def generate(self, input_ids: torch.Tensor, **options: object) -> torch.Tensor:
            return torch.cat([input_ids, torch.tensor([answer])], dim=1)

    [said] = greedy_answers(Says(), [Rendered((1,), {})], Renderer(tokenizer, (0,)), 5)
    assert said == "图\ufffd\ufffd"
