from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from engine_world import CONVERSATIONS, IMAGES, WAIT_S, Answer, ask, reference_ids, submit
from pydantic import ValidationError
from transformers import AutoModelForImageTextToText

from serve.engine.config import EngineConfig
from serve.engine.device import MAX_CPU_CACHE_BYTES
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Sampling
from serve.errors import EngineFull, InvalidPrompt, SettingsError, UnknownAdapter

CONFIG = EngineConfig(max_num_sequences=4, max_model_len=256, max_waiting=64, num_adapter_slots=2, max_rank=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    yield engine
    engine.close()


@pytest.fixture
def own_engine(folder: Path) -> Iterator[TransformersEngine]:
    """An engine that the test may break."""
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def expected(model: Any, engine: TransformersEngine) -> list[list[int]]:
    answers = [reference_ids(model, engine, conversation) for conversation in CONVERSATIONS]
    assert len({tuple(answer) for answer in answers}) == len(answers), "the model tells its prompts apart"
    return answers


def test_a_mixed_batch_answers_as_generate_does(
    engine: TransformersEngine, expected: list[list[int]]
) -> None:
    answers = [submit(engine, conversation) for conversation in CONVERSATIONS]
    assert [answer.wait().token_ids for answer in answers] == expected


@pytest.mark.parametrize("seed", range(3))
def test_requests_that_arrive_at_random_steps_answer_as_generate_does(
    engine: TransformersEngine, expected: list[list[int]], seed: int
) -> None:
    numbers = random.Random(seed)
    order = [numbers.randrange(len(CONVERSATIONS)) for _ in range(12)]
    answers: list[Answer] = []
    for index in order:
        answers.append(submit(engine, CONVERSATIONS[index]))
        numbers.choice(answers).wait_for_tokens(numbers.randrange(1, 20))
    assert [answer.wait().token_ids for answer in answers] == [expected[index] for index in order]


def test_answers_stop_at_every_end_id_and_else_at_max_tokens(engine: TransformersEngine, model: Any) -> None:
    endings = set()
    for number in range(40):
        answer = submit(engine, ask(f"question {number}", number % 3), max_tokens=16).wait()
        ended_by_model = answer.token_ids[-1] in (2, 20)
        assert answer.finish_reason == ("stop" if ended_by_model else "length")
        assert not {2, 20} & set(answer.token_ids[:-1])
        endings.add(answer.token_ids[-1] if ended_by_model else "length")
    assert endings >= {20, "length"}


def test_the_served_text_is_the_decoded_tokens(engine: TransformersEngine) -> None:
    for number in range(6):
        answer = submit(engine, CONVERSATIONS[number], temperature=1.5, seed=number, max_tokens=40).wait()
        kept = [token_id for token_id in answer.token_ids if token_id not in (2, 20)]
        assert answer.text == engine._tokenizer.decode(kept, skip_special_tokens=True)


SAMPLED: list[dict[str, Any]] = [
    {"temperature": 1.0, "top_p": 0.95},
    {"temperature": 1.2, "top_k": 20, "frequency_penalty": 0.5},
    {"temperature": 0.7, "min_p": 0.02, "presence_penalty": 1.0, "logit_bias": {40: 2.0}, "top_logprobs": 2},
]


@pytest.mark.parametrize("order", range(3))
def test_the_same_seed_gives_the_same_tokens_whatever_else_runs(
    engine: TransformersEngine, order: int
) -> None:
    def sampled(seed: int) -> Answer:
        return submit(engine, CONVERSATIONS[1], seed=seed, **SAMPLED[seed])

    alone = [sampled(seed).wait().token_ids for seed in range(3)]
    assert len({tuple(token_ids) for token_ids in alone}) == 3
    numbers = random.Random(order)
    together, noise = [], []
    for seed in range(3):
        for _ in range(2):
            other = numbers.choice(CONVERSATIONS)
            length = numbers.randrange(2, 24)
            noise.append(submit(engine, other, max_tokens=length, **numbers.choice(SAMPLED)))
            numbers.choice(noise).wait_for_tokens(numbers.randrange(1, 8))
        together.append(sampled(seed))
    assert [answer.wait().token_ids for answer in together] == alone
    for answer in noise:
        answer.wait()


def test_a_prompt_of_images_seen_before_answers_the_same(folder: Path, expected: list[list[int]]) -> None:
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    first, second = (submit(engine, CONVERSATIONS[2]).wait().token_ids for _ in range(2))
    kept = list(engine._runner._image_features._kept)
    engine.close()
    assert first == second == expected[2]
    assert len(kept) == 2


def test_a_prompt_that_cannot_fit_is_refused_at_the_door(engine: TransformersEngine) -> None:
    with pytest.raises(InvalidPrompt, match="shorten it"):
        engine.prepare(ask("word " * 300), {})
    prompt = engine.prepare(ask("hello"), {})
    room = engine.max_model_len - prompt.num_tokens
    for max_tokens in (0, room + 1):
        with pytest.raises(InvalidPrompt, match=f"1 to {room}"):
            engine.submit(prompt, Sampling(max_tokens), BASE, Answer())


def test_an_answer_may_fill_the_model_to_the_last_position(engine: TransformersEngine, model: Any) -> None:
    conversation = ask("Is there a dog?" * 15)
    room = engine.max_model_len - engine.prepare(conversation, {}).num_tokens
    assert submit(engine, conversation, max_tokens=room).wait().token_ids == reference_ids(
        model, engine, conversation, room
    )


def test_a_damaged_image_is_an_invalid_prompt(engine: TransformersEngine) -> None:
    damaged = dict.fromkeys(IMAGES, b"damaged")
    with pytest.raises(InvalidPrompt, match="cannot be decoded"):
        engine.prepare(CONVERSATIONS[1], damaged)


def test_an_unknown_adapter_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(UnknownAdapter, match="v1"):
        submit(engine, CONVERSATIONS[0], adapter="v1")


def test_a_cancelled_sequence_ends_and_the_others_go_on(
    engine: TransformersEngine, expected: list[list[int]]
) -> None:
    release, reached = threading.Event(), threading.Event()
    cancelled = Answer()

    def hold(delta: Any) -> None:
        cancelled(delta)
        reached.set()
        assert release.wait(WAIT_S)

    prompt = engine.prepare(CONVERSATIONS[2], IMAGES)
    sequence_id = engine.submit(prompt, Sampling(24, 0.0), BASE, hold)
    other = submit(engine, CONVERSATIONS[3])
    assert reached.wait(WAIT_S)
    engine.cancel(sequence_id)
    engine.cancel("no such sequence")
    release.set()
    assert cancelled.wait().finish_reason == "cancelled"
    assert cancelled.token_ids == expected[2][: len(cancelled.token_ids)]
    assert len(cancelled.token_ids) == 1 < len(expected[2]), "it had no further step"
    assert other.wait().token_ids == expected[3]
    engine.cancel(sequence_id)


class HeldEngine:
    """An engine whose thread stands still in the callback of a first sequence until `release`."""

    def __init__(self, engine: TransformersEngine) -> None:
        self._release, reached = threading.Event(), threading.Event()
        self.answer = Answer()

        def hold(delta: Any) -> None:
            self.answer(delta)
            reached.set()
            assert self._release.wait(WAIT_S)

        prompt = engine.prepare(ask("hold"), {})
        self.sequence_id = engine.submit(prompt, Sampling(2, 0.0), BASE, hold)
        assert reached.wait(WAIT_S)

    def release(self) -> None:
        self._release.set()


def test_a_full_queue_refuses_and_takes_again_when_it_has_room(folder: Path) -> None:
    engine = TransformersEngine.from_pretrained(folder, EngineConfig(max_model_len=128, max_waiting=2))
    held = HeldEngine(engine)
    waiting = [submit(engine, ask(str(number))) for number in range(2)]
    assert engine.stats().num_waiting == 2
    with pytest.raises(EngineFull, match="waiting already"):
        submit(engine, ask("one too many"))
    held.release()
    assert all(answer.wait().finish_reason in ("stop", "length") for answer in waiting)
    assert submit(engine, ask("now there is room")).wait().finish_reason in ("stop", "length")
    engine.close()


def test_a_waiting_sequence_can_be_cancelled(own_engine: TransformersEngine) -> None:
    held = HeldEngine(own_engine)
    answer = Answer()
    sequence_id = own_engine.submit(own_engine.prepare(ask("wait"), {}), Sampling(8, 0.0), BASE, answer)
    own_engine.cancel(sequence_id)
    held.release()
    assert answer.wait().finish_reason == "cancelled"
    assert answer.token_ids == []


def test_stop_strings_end_the_answer_and_are_cut_from_its_text(engine: TransformersEngine) -> None:
    whole = submit(engine, CONVERSATIONS[3]).wait()
    for start in range(2, len(whole.text) - 2):
        stop = whole.text[start : start + 2]
        answer = submit(engine, CONVERSATIONS[3], stop=("never said", stop)).wait()
        assert answer.text == whole.text[: whole.text.index(stop)]
        assert answer.finish_reason == "stop"
        assert answer.token_ids == whole.token_ids[: len(answer.token_ids)]


def test_stats_count_what_ran(own_engine: TransformersEngine) -> None:
    prompt = own_engine.prepare(CONVERSATIONS[1], IMAGES)
    answer = submit(own_engine, CONVERSATIONS[1]).wait()
    stats = own_engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.num_slots, stats.max_waiting) == (0, 0, 4, 64)
    assert stats.num_prompt_tokens == prompt.num_tokens
    assert stats.num_generated_tokens == len(answer.token_ids)
    assert stats.adapters == ()


def test_closing_ends_running_and_waiting_sequences_with_an_error(folder: Path) -> None:
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    held = HeldEngine(engine)
    waiting = submit(engine, ask("wait"))
    closing = threading.Thread(target=engine.close)
    closing.start()
    with engine._condition:
        assert engine._condition.wait_for(lambda: engine._is_closing, WAIT_S)
    held.release()
    closing.join()
    assert [held.answer.wait().finish_reason, waiting.wait().finish_reason] == ["error", "error"]
    with pytest.raises(EngineFull, match="closing"):
        submit(engine, ask("late"))
    with pytest.raises(EngineFull, match="closing"):
        engine._do_between_steps(lambda: None)


def test_a_text_only_model_answers_as_generate_does(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_models.tiny_llama(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    conversations = [CONVERSATIONS[0], CONVERSATIONS[4]]
    answers = [submit(engine, conversation) for conversation in conversations]
    assert [answer.wait().token_ids for answer in answers] == [
        reference_ids(model, engine, conversation) for conversation in conversations
    ]
    engine.close()


def test_weights_saved_in_half_precision_run_in_float32_on_cpu(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    half = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float16)
    half.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    engine = TransformersEngine.from_pretrained(tmp_path, CONFIG)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert submit(engine, CONVERSATIONS[1]).wait().token_ids == reference_ids(model, engine, CONVERSATIONS[1])
    engine.close()


def test_what_was_chosen_at_the_start_can_be_told(folder: Path) -> None:
    config = EngineConfig(max_num_sequences=3, attention="eager", max_rank=4)
    engine = TransformersEngine.from_pretrained(folder, config, num_cores=8)
    try:
        setup = engine.setup
    finally:
        engine.close()
    chosen = (setup.device, setup.dtype, setup.attention, setup.num_threads)
    assert chosen == ("cpu", "float32", "eager", 1)
    assert (setup.num_sequences, setup.max_rank, setup.max_model_len) == (3, 4, engine.max_model_len)
    assert setup.cache_bytes <= MAX_CPU_CACHE_BYTES
    assert setup.cache_bytes % (3 * setup.max_model_len) == 0


def test_a_kind_of_attention_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ValidationError, match="attention"):  # it takes no mask but of padding
        EngineConfig(attention="flash_attention_2")
    config = EngineConfig().model_copy(update={"attention": "one_that_is_not_installed"})
    with pytest.raises(SettingsError, match="attention one_that_is_not_installed cannot be used here"):
        TransformersEngine.from_pretrained(folder, config)


def test_settings_that_cannot_work_are_refused(folder: Path) -> None:
    with pytest.raises(ValidationError, match="max_num_sequences"):
        EngineConfig(max_num_sequences=0)
    with pytest.raises(ValidationError, match="max_waiting"):
        EngineConfig(max_waiting=-1)
    with pytest.raises(SettingsError, match="512"):
        TransformersEngine.from_pretrained(folder, EngineConfig(max_model_len=513))
