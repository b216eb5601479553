"""Log-probabilities of tokens, and the bytes that stand behind their ids."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from engine_world import CONVERSATIONS, IMAGES, Answer, reference_ids, submit
from transformers import AutoModelForImageTextToText
from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList

from align.rendering import Rendered
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.logprobs import log_probabilities
from serve.engine.protocol import BASE, Sampling
from serve.engine.vocabulary import Vocabulary
from serve.errors import InvalidRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine.from_pretrained(folder, EngineConfig(max_num_sequences=6, max_model_len=256))
    yield engine
    engine.close()


def test_log_probabilities_are_those_worked_by_hand() -> None:
    # e^ln(1, 2, 5) = 1, 2, 5 of 8
    logits = torch.tensor([[1.0, 2.0, 5.0], [5.0, 2.0, 1.0]]).log()
    first, second = log_probabilities(logits, [0, 1], [2, 0])
    assert first[0] == (0, pytest.approx(math.log(1 / 8)))
    assert first[1] == [(2, pytest.approx(math.log(5 / 8))), (1, pytest.approx(math.log(2 / 8)))]
    assert second == ((1, pytest.approx(math.log(2 / 8))), [])


def test_more_likeliest_than_tokens_are_all_of_them() -> None:
    [(_, likeliest)] = log_probabilities(torch.zeros(1, 3), [0], [20])
    assert sorted(token_id for token_id, _ in likeliest) == [0, 1, 2]


NO_IMAGE = {3: -100.0}
"""An answer with a placeholder in it cannot be read again in one pass."""
TEXTS = ["Two red cups, 🙂 and 图片!", "  a \n\tb  ", "x"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_tokens_joined_are_the_text(text: str) -> None:
    for tokenizer in (tiny_models.tiny_tokenizer(), tiny_models.byte_fallback_tokenizer()):
        vocabulary = Vocabulary(tokenizer)
        token_ids = tokenizer.encode(text, add_special_tokens=False)
        assert (
            b"".join(map(vocabulary.encoded, token_ids)).decode().removeprefix("\N{NO-BREAK SPACE}") == text
        )


def test_special_tokens_are_spelt_and_ids_without_a_token_are_empty() -> None:
    vocabulary = Vocabulary(tiny_models.tiny_tokenizer())
    assert vocabulary.encoded(2) == b"</s>"
    assert vocabulary.encoded(100_000) == b""


def test_scores_are_the_models_own_whatever_was_sampled_how(engine: TransformersEngine, model: Any) -> None:
    """Each row's against one forward pass over its prompt and answer, in float32, to 1e-4."""
    settings: list[dict[str, Any]] = [
        {"top_logprobs": 3},
        {"top_logprobs": 20, "temperature": 1.3, "seed": 1, "top_p": 0.9},
        {"top_logprobs": 0, "frequency_penalty": 1.0, "presence_penalty": 0.5},
        {"temperature": 0.7, "seed": 2},
        {"top_logprobs": 1, "temperature": 1.0, "seed": 3, "logit_bias": {**NO_IMAGE, 40: 5.0}},
        {"top_logprobs": 5, "temperature": 1.0, "top_k": 4, "min_p": 0.05, "seed": 4},
    ]
    answers = [
        submit(engine, conversation, **{"logit_bias": NO_IMAGE, **setting})
        for conversation, setting in zip(CONVERSATIONS, settings, strict=True)
    ]
    for conversation, setting, answer in zip(CONVERSATIONS, settings, answers, strict=True):
        entries = [entry for delta in answer.wait().deltas for entry in delta.logprobs]
        if "top_logprobs" not in setting:
            assert entries == []
            continue
        prompt = engine.prepare(conversation, IMAGES)
        assert isinstance(prompt, Rendered)
        input_ids = torch.tensor([[*prompt.input_ids, *answer.token_ids]])
        with torch.no_grad():
            logits = model(input_ids=input_ids, **prompt.tensors).logits[0]
        expected = torch.log_softmax(logits[prompt.num_tokens - 1 : -1], -1)
        token_ids = [token_id for token_id in answer.token_ids if token_id not in (2, 20)]
        assert [entry.sampled.token_id for entry in entries] == token_ids
        for entry, scores in zip(entries, expected, strict=False):
            assert entry.sampled.logprob == pytest.approx(scores[entry.sampled.token_id].item(), abs=1e-4)
            values, ids = scores.topk(setting["top_logprobs"])
            assert [token.logprob for token in entry.likeliest] == pytest.approx(values.tolist(), abs=1e-4)
            assert [token.token_id for token in entry.likeliest] == ids.tolist()
        said = b"".join(entry.sampled.encoded for entry in entries).decode(errors="replace")
        assert said == engine._tokenizer.decode(token_ids, skip_special_tokens=False)


class Penalties(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """OpenAI's formula, written plainly: what was sampled before, counted."""

    def __init__(self, prompt_length: int, presence: float, frequency: float) -> None:
        self._prompt_length, self._presence, self._frequency = prompt_length, presence, frequency

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        sampled = input_ids[0, self._prompt_length :].tolist()
        for token_id in set(sampled):
            scores[0, token_id] -= self._presence + self._frequency * sampled.count(token_id)
        return scores


def test_penalties_and_bias_answer_as_generate_does_with_them(engine: TransformersEngine, model: Any) -> None:
    plain = [reference_ids(model, engine, conversation) for conversation in CONVERSATIONS]
    bias = {plain[0][0]: -100.0, 30: 2.0}
    asked = [
        submit(engine, conversation, presence_penalty=1.5, frequency_penalty=2.0, logit_bias=bias)
        for conversation in CONVERSATIONS
    ]
    for conversation, answer in zip(CONVERSATIONS, asked, strict=True):
        prompt = engine.prepare(conversation, IMAGES)
        assert isinstance(prompt, Rendered)
        input_ids = torch.tensor([prompt.input_ids])
        output = model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=24,
            do_sample=False,
            sequence_bias={(token_id,): amount for token_id, amount in bias.items()},
            logits_processor=LogitsProcessorList([Penalties(prompt.num_tokens, 1.5, 2.0)]),
            **prompt.tensors,
        )
        assert answer.wait().token_ids == output[0, input_ids.shape[1] :].tolist()
    changed = [answer.token_ids != without for answer, without in zip(asked, plain, strict=True)]
    assert sum(changed) >= 4


@pytest.mark.parametrize("token_id", [-1, 1_000_000])
def test_a_bias_on_an_id_that_is_no_token_is_refused(engine: TransformersEngine, token_id: int) -> None:
    prompt = engine.prepare(CONVERSATIONS[0], {})
    with pytest.raises(InvalidRequest, match=f"logit_bias names {token_id}"):
        engine.submit(prompt, Sampling(4, logit_bias={token_id: 1.0}), BASE, Answer())
