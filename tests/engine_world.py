"""What the engine's tests share: conversations, adapters, a receiver of deltas, and the reference's answers."""

from __future__ import annotations

import copy
import hashlib
import threading
import warnings
from pathlib import Path
from typing import Any

import torch
from tiny_models import png

from align.conversation import Conversation, Image, Message, Text
from align.rendering import Rendered
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Delta, Engine, Sampling

WAIT_S = 60
"""Far above what anything takes: a test that waits this long has failed."""
LANGUAGE_LAYERS = r".*language_model.*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
PNGS = [png(seed) for seed in range(3)]
IMAGES = {hashlib.sha256(encoded).hexdigest(): encoded for encoded in PNGS}
IMAGE_IDS = list(IMAGES)


def ask(text: str, *image_numbers: int) -> Conversation:
    images = tuple(Image(IMAGE_IDS[number]) for number in image_numbers)
    return Conversation((Message("user", (*images, Text(text))),))


CONVERSATIONS = [
    ask("Is there a dog?"),
    ask("What is in the picture?", 0),
    ask("How do these differ? Say it in one sentence, please, and mind the colours.", 1, 2),
    Conversation(
        (
            Message("system", (Text("Be brief."),)),
            Message("user", (Image(IMAGE_IDS[2]), Text("And here?"))),
            Message("assistant", (Text("A yellow sun."),)),
            Message("user", (Text("Really? Look again, and at this one too."), Image(IMAGE_IDS[0]))),
        )
    ),
    ask("x"),
    ask("这是什么 🙂?", 1),
]


class Answer:
    """Collects deltas and can be waited for, until the end or until the n-th token."""

    def __init__(self) -> None:
        self.deltas: list[Delta] = []
        self._changed = threading.Condition()

    def __call__(self, delta: Delta) -> None:
        with self._changed:
            assert not self.is_ended, "a delta after the last one"
            self.deltas.append(delta)
            self._changed.notify_all()

    @property
    def is_ended(self) -> bool:
        return bool(self.deltas) and self.deltas[-1].finish_reason is not None

    @property
    def token_ids(self) -> list[int]:
        return [token_id for delta in self.deltas for token_id in delta.token_ids]

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def finish_reason(self) -> str | None:
        return self.deltas[-1].finish_reason

    def wait(self) -> Answer:
        return self._wait(lambda: self.is_ended)

    def wait_for_tokens(self, count: int) -> Answer:
        return self._wait(lambda: len(self.token_ids) >= count or self.is_ended)

    def _wait(self, condition: Any) -> Answer:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), "the engine does not answer"
        return self


def submit(
    engine: Engine,
    conversation: Conversation,
    adapter: str = BASE,
    max_tokens: int = 24,
    temperature: float = 0.0,
    **sampling: Any,
) -> Answer:
    answer = Answer()
    prompt = engine.prepare(conversation, IMAGES)
    engine.submit(prompt, Sampling(max_tokens, temperature, **sampling), adapter, answer)
    return answer


def reference_ids(
    model: Any, engine: TransformersEngine, conversation: Conversation, max_tokens: int = 24
) -> list[int]:
    """What transformers' own greedy `generate` answers to the same inputs."""
    prompt = engine.prepare(conversation, IMAGES)
    assert isinstance(prompt, Rendered)
    input_ids = torch.tensor([prompt.input_ids])
    output = model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=max_tokens,
        do_sample=False,
        **prompt.tensors,
    )
    ids: list[int] = output[0, input_ids.shape[1] :].tolist()
    return ids


def peft_model(model: Any, seed: int, **settings: Any) -> Any:
    """A copy of the model with a LoRA adapter of random weights, large enough to change greedy answers."""
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 8, "target_modules": LANGUAGE_LAYERS, **settings}
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft uses what transformers has deprecated
        adapted = get_peft_model(copy.deepcopy(model), LoraConfig(init_lora_weights=False, **settings))
    return adapted.eval()


def save_adapter(adapted: Any, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted.save_pretrained(folder)
    return folder
