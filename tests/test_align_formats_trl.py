"""The exported file in TRL itself: it trains unchanged, on the very pairs that Errata would train on."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from corrections import ANSWERS
from peft import LoraConfig
from records import correction, response
from tiny_models import png, tiny_llama, tiny_llava
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from align.conversation import Conversation, Image, Message, Text
from align.formats.exporting import FORMATS, export_corrections
from align.rendering import Renderer
from align.spans import diff_spans
from align.state import Blobs, Store
from align.state.corrections import spans_to_json
from align.state.examples import corrected_example

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[peers]'")
datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings(
    "default"
)  # what TRL, datasets and accelerate warn of is theirs to mend


def sha256(index: int) -> str:
    return hashlib.sha256(png(index)).hexdigest()


def conversations(with_images: bool) -> list[Conversation]:
    """No image, one, and two over several turns, in an order that puts text alone first."""
    text = Message("user", (Text("Say what you see."),))
    one = Message("user", (Image(sha256(1)), Text("What is there?")))
    two = (
        Message("system", (Text("Be brief."),)),
        Message("user", (Image(sha256(2)), Text("This or "), Image(sha256(3)), Text(" this?"))),
        Message("assistant", (Text("The first."),)),
        Message("user", (Text("Sure?"),)),
    )
    return [Conversation((text,)), *([Conversation((one,)), Conversation(two)] if with_images else [])]


def add(store: Store, blobs: Blobs, with_images: bool) -> None:
    for index in (1, 2, 3):
        blobs.put_image(png(index))
    for index, conversation in enumerate(conversations(with_images)):
        served, corrected = ANSWERS[index]
        store.responses.add(response(f"r{index}", conversation=conversation.to_json(), text=served))
        spans = spans_to_json(diff_spans(served, corrected))
        store.corrections.add(
            correction(f"c{index}", response_id=f"r{index}", corrected_text=corrected, spans=spans)
        )


def trained(model: Any, processor: Any, folder: Path) -> list[dict[str, float]]:
    """TRL's log of a few steps over all pairs at once, from the folder as `errata export` wrote it."""
    dataset = datasets.load_dataset(str(folder), split="train", cache_dir=str(folder / "cache"))
    lora = LoraConfig(r=8, target_modules=["q_proj", "v_proj"])
    config = trl.DPOConfig(
        output_dir=str(folder / "out"),
        max_steps=8,
        learning_rate=1e-2,
        per_device_train_batch_size=len(dataset),
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = trl.DPOTrainer(
        model=model, args=config, train_dataset=dataset, processing_class=processor, peft_config=lora
    )
    trainer.train()
    return [log for log in trainer.state.log_history if "loss" in log]


def summed_logp(model: Any, base: Path, store: Store, blobs: Blobs, side: str) -> float:
    """Mean over the pairs of the answer's log-prob, one plain sequence at a time."""
    renderer = Renderer.from_pretrained(base)
    total, number = 0.0, 0
    for records in store.corrections.trainable():
        example = corrected_example(*records, blobs)
        prompt = renderer.render(example.conversation, example.images)
        ids = renderer.tokenizer.encode(getattr(example, side), add_special_tokens=False)
        answer = [*ids, renderer.tokenizer.eos_token_id]
        inputs = torch.tensor([[*prompt.input_ids, *answer]])
        with torch.no_grad():
            logps = model(input_ids=inputs, **prompt.tensors).logits[0].log_softmax(-1)
        start = len(prompt.input_ids)
        total += sum(float(logps[start + at - 1, token]) for at, token in enumerate(answer))
        number += 1
    return total / number


@pytest.mark.parametrize("with_images", [True, False], ids=["images", "text"])
def test_trl_trains_on_the_exported_file_unchanged(
    store: Store, blobs: Blobs, tmp_path: Path, with_images: bool
) -> None:
    add(store, blobs, with_images)
    export_corrections(store, blobs, FORMATS["trl"], tmp_path / "trl", pytest.fail)
    base = (tiny_llava if with_images else tiny_llama)(tmp_path / "base")
    kind = AutoModelForImageTextToText if with_images else AutoModelForCausalLM
    processor = (AutoProcessor if with_images else AutoTokenizer).from_pretrained(base)
    plain = kind.from_pretrained(base).eval()
    logs = trained(kind.from_pretrained(base), processor, tmp_path / "trl")
    assert logs[0]["loss"] == pytest.approx(math.log(2), rel=1e-6)
    for side, text in (("chosen", "corrected_text"), ("rejected", "served_text")):
        expected = summed_logp(plain, base, store, blobs, text)
        assert logs[0][f"logps/{side}"] == pytest.approx(expected, rel=1e-5)
    assert logs[-1]["loss"] < 0.5 < logs[0]["loss"]
    assert logs[-1]["rewards/accuracies"] == 1.0
