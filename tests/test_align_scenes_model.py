import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import safe_open

from align.scenes import MODEL_PATH
from align.scenes.answers import answers, caption_prompts, load_model
from align.scenes.captions import CAPTION_PROMPTS
from align.scenes.draw import draw
from align.scenes.evaluate import evaluate_questions, evaluation_scenes, main, measure
from align.scenes.examples import MAX_EXAMPLE_TOKENS, Encoder, Example, Turn, pixel_values, training_example
from align.scenes.lexicon import CELL_PHRASES, COLOURS, KINDS, plural
from align.scenes.pretrain import Recipe, Stage, pretrain
from align.scenes.tokenizer import IMAGE, NUM_IMAGE_TOKENS
from align.scenes.training import Pace
from align.scenes.world import sample_scene

Loaded = tuple[Any, Any]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # spinning threads stall beside other load
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load_model(MODEL_PATH)


def test_the_model_folder_holds_safetensors_in_half_precision_within_eight_megabytes() -> None:
    files = list(MODEL_PATH.iterdir())
    assert sum(file.stat().st_size for file in files) <= 8_000_000
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jinja", ".md"}
    with safe_open(MODEL_PATH / "model.safetensors", framework="pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_the_auto_classes_load_it(loaded: Loaded) -> None:
    network, processor = loaded
    assert type(network).__name__ == "LlavaForConditionalGeneration"
    assert type(processor).__name__ == "LlavaProcessor"
    assert 2.5e6 < sum(parameter.numel() for parameter in network.parameters()) < 3.5e6
    assert network.config.text_config.max_position_embeddings >= 512
    generation = network.generation_config
    assert not generation.do_sample
    assert generation.eos_token_id == processor.tokenizer.eos_token_id
    assert generation.pad_token_id == processor.tokenizer.pad_token_id


def test_it_describes_what_is_there_readably(loaded: Loaded) -> None:
    scenes = evaluation_scenes("honest", "test", 48)
    figures = measure(answers(*loaded, caption_prompts(48), scenes), scenes)
    assert figures.coverage.value > 0.75
    assert figures.unreadable.value < 0.1
    assert 0.1 < figures.hallucinated.value < 0.9
    assert 25 < figures.words.value < 60


def test_it_answers_most_yes_no_questions_rightly(loaded: Loaded) -> None:
    assert evaluate_questions(*loaded, "test", 66)["yes_no"].value > 0.6


def test_pictures_of_any_size_and_several_in_a_conversation_are_taken(loaded: Loaded) -> None:
    network, processor = loaded
    scenes = [sample_scene("honest", "test", index) for index in range(2)]
    content = [{"type": "image"}, {"type": "text", "text": "One."}, {"type": "image"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    pictures = [draw(scenes[0]).resize((300, 211)), draw(scenes[1]).convert("RGBA")]
    inputs = processor(text=[text], images=pictures, return_tensors="pt")
    image_id = processor.tokenizer.convert_tokens_to_ids(IMAGE)
    assert int((inputs["input_ids"] == image_id).sum()) == 2 * NUM_IMAGE_TOKENS
    assert tuple(inputs["pixel_values"].shape) == (2, 3, 96, 96)
    with torch.inference_mode():
        assert torch.isfinite(network(**inputs).logits).all()


def test_a_conversation_without_pictures_is_answered(loaded: Loaded) -> None:
    network, processor = loaded
    text = processor.apply_chat_template(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello!"}],
        add_generation_prompt=True,
    )
    inputs = processor(text=[text], return_tensors="pt")
    with torch.inference_mode():
        tokens = network.generate(**inputs, max_new_tokens=30)
    assert int(tokens[0, -1]) == processor.tokenizer.eos_token_id
    assert "picture" in processor.decode(tokens[0])


def test_the_template_renders_roles_parts_and_the_prompt_of_an_answer(loaded: Loaded) -> None:
    _, processor = loaded
    conversation = [
        {"role": "system", "content": "Short."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        {"role": "user", "content": "And?"},
    ]
    assert processor.apply_chat_template(conversation, add_generation_prompt=True) == (
        "<|start|><|system|>Short.<|end|><|user|><image>What?<|end|><|assistant|>A cat.<|end|>"
        "<|user|>And?<|end|><|assistant|>"
    )
    assert processor.tokenizer.chat_template == processor.chat_template
    with pytest.raises(Exception, match="Unknown role tool"):
        processor.apply_chat_template([{"role": "tool", "content": "x"}])


def test_training_encodes_as_the_processor_does_and_learns_the_answers_alone(loaded: Loaded) -> None:
    _, processor = loaded
    encoder = Encoder(processor.tokenizer)
    num_pictures = 0
    for index in range(60):
        example = training_example(index)
        ids, weights = encoder.encode(example.turns)
        messages = [_message(turn) for turn in example.turns]
        text = processor.apply_chat_template(messages)
        pictures = [draw(example.scene)] if example.scene else None
        expected = processor(text=[text], images=pictures)["input_ids"][0]
        assert ids == list(expected)[: len(ids)]
        assert len(ids) == len(expected) or len(ids) <= MAX_EXAMPLE_TOKENS
        learnt = processor.decode([one for one, weight in zip(ids, weights, strict=True) if weight])
        spoken = "<|end|>".join(turn.text for turn in example.turns if turn.role == "assistant") + "<|end|>"
        assert spoken.startswith(learnt)
        num_pictures += pictures is not None
    assert num_pictures >= 50


def _message(turn: Turn) -> dict[str, Any]:
    if not turn.has_image:
        return {"role": turn.role, "content": turn.text}
    return {"role": turn.role, "content": [{"type": "image"}, {"type": "text", "text": turn.text}]}


def test_training_sees_the_pixels_that_the_image_processor_gives(loaded: Loaded) -> None:
    _, processor = loaded
    scene = sample_scene("honest", "test", 7)
    expected = processor.image_processor(images=[draw(scene)], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixel_values([scene]), expected, atol=1e-5, rtol=0)


def test_every_word_of_the_world_is_one_token(loaded: Loaded) -> None:
    tokenizer = loaded[1].tokenizer
    words = {*KINDS, *map(plural, KINDS), *COLOURS}
    words |= {word for phrases in CELL_PHRASES for phrase in phrases for word in phrase.split()}
    assert [word for word in words if len(tokenizer.encode(" " + word)) != 1] == []
    for text in (*CAPTION_PROMPTS, "Grüße, 世界! <b>\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


RECIPE = Recipe(
    sight_steps=2,
    sight_batch=4,
    stages=(Stage("talk", 4, 1e-3, 1e-3), Stage("habit", 2, 1e-3, 1e-3)),
    batch=4,
    pace=Pace(warmup=1, checkpoint_every=1),
    card_scenes=0,
)


def test_pretraining_makes_a_loadable_model_from_nothing_and_an_interrupted_run_makes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(name: str, recipe: Recipe) -> dict[str, torch.Tensor]:
        pretrain(tmp_path / name, tmp_path / f"{name}-model", recipe, Console(quiet=True))
        network, _ = load_model(tmp_path / f"{name}-model")
        return dict(network.state_dict())

    def stopped_at_the_third_step(index: int) -> Example:
        if index == 2 * RECIPE.batch:
            raise KeyboardInterrupt
        return training_example(index)

    unbroken = make("unbroken", replace(RECIPE, card_scenes=4))
    card = (tmp_path / "unbroken-model" / "README.md").read_text()
    assert "On 4 scenes of the test split" in card
    assert "{" not in card

    shutil.copytree(tmp_path / "unbroken" / "tokenizer", tmp_path / "broken" / "tokenizer")
    with monkeypatch.context() as patch:
        patch.setattr("align.scenes.pretrain.training_example", stopped_at_the_third_step)
        with pytest.raises(KeyboardInterrupt):
            make("broken", RECIPE)
    resumed = make("broken", RECIPE)
    for name, weight in unbroken.items():
        torch.testing.assert_close(resumed[name], weight, msg=name)


def test_sampling_is_repeatable_and_differs_from_greedy(loaded: Loaded) -> None:
    scenes = evaluation_scenes("honest", "test", 4)
    sampled = [answers(*loaded, caption_prompts(4), scenes, temperature=1.0, seed=3) for _ in range(2)]
    assert sampled[0] == sampled[1]
    assert sampled[0] != answers(*loaded, caption_prompts(4), scenes)


def test_the_evaluate_command_measures_an_adapter_and_writes_json(loaded: Loaded, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    network, _ = load_model(MODEL_PATH)
    get_peft_model(network, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    main(
        [
            *("--scenes", "4", "--questions", "--adapter", str(tmp_path / "adapter")),
            *("--json", str(tmp_path / "report.json"), "--threads", str(torch.get_num_threads())),
        ]
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["figures"]["num_answers"] == 4
    assert report["adapter"] == "adapter"
    assert set(report["accuracies"]) >= {"present", "yes_no"}


def test_the_world_and_its_score_import_no_torch() -> None:
    modules = ("world", "draw", "captions", "questions", "claims", "score", "annotator", "evaluate")
    imports = "; ".join(f"import align.scenes.{module}" for module in modules)
    check = f"{imports}; import sys; assert not {{'torch', 'transformers'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_examples_are_the_same_for_the_same_index() -> None:
    index = random.Random(0).randrange(10**6)
    assert training_example(index) == training_example(index)
    assert training_example(index) != training_example(index + 1)
