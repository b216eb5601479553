"""What fails inside the model ends the request that met it: never the batch, the process or the next request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from engine_world import CONVERSATIONS, IMAGES, WAIT_S, Answer, ask, reference_ids, submit
from served import serving, wait_until
from transformers import AutoModelForImageTextToText

from align.detokenizer import Detokenizer
from align.rendering import Rendered
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.failure import OUT_OF_MEMORY, is_device_lost, reason
from serve.engine.protocol import BASE, Sampling
from serve.errors import ServeError

CONFIG = EngineConfig(max_num_sequences=4, max_model_len=256, num_adapter_slots=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[int]]:
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    answers = [reference_ids(model, engine, conversation) for conversation in CONVERSATIONS]
    engine.close()
    return answers


@pytest.fixture
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    yield engine
    engine.close()


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.empty(2**60, dtype=torch.uint8),
        lambda: bytearray(2**62),
        lambda: (_ for _ in ()).throw(
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        ).__next__(),
    ],
    ids=["torch on a CPU", "Python", "torch on a GPU"],
)
def test_an_exhausted_memory_is_called_so_whoever_ran_out_of_it(fail: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        fail()
    assert reason(raised.value) == OUT_OF_MEMORY
    assert not is_device_lost(raised.value)


def test_other_failures_are_named_by_their_kind_alone() -> None:
    text = reason(ValueError("what somebody asked"))
    assert "ValueError" in text
    assert "asked" not in text.replace("this request", "")


def broken_prompt(engine: TransformersEngine, pixels: torch.Tensor) -> Rendered:
    prompt = engine.prepare(CONVERSATIONS[1], IMAGES)
    assert isinstance(prompt, Rendered)
    return Rendered(prompt.input_ids, {"pixel_values": pixels}, ("broken",))


@pytest.mark.parametrize(
    "pixels", [torch.zeros(1, 3, 14, 14), torch.full((1, 3, 28, 28), float("nan"))], ids=["raises", "nan"]
)
def test_a_sequence_that_fails_at_its_prompt_ends_alone(
    engine: TransformersEngine, expected: list[list[int]], pixels: torch.Tensor
) -> None:
    before = submit(engine, CONVERSATIONS[0])
    failing = Answer()
    engine.submit(broken_prompt(engine, pixels), Sampling(8, 0.0), BASE, failing)
    after = submit(engine, CONVERSATIONS[3])
    assert failing.wait().finish_reason == "error"
    assert failing.token_ids == []
    assert failing.deltas[-1].error is not None
    assert "server's log" in failing.deltas[-1].error
    assert [before.wait().token_ids, after.wait().token_ids] == [expected[0], expected[3]]
    assert submit(engine, CONVERSATIONS[1]).wait().token_ids == expected[1]


def test_what_is_not_finite_does_not_outlive_its_sequence(
    engine: TransformersEngine, expected: list[list[int]]
) -> None:
    """The next sequence in its row is shorter than it was, and reads the row beyond its own end, masked."""
    failing = Answer()
    pixels = torch.full((1, 3, 28, 28), float("nan"))
    engine.submit(broken_prompt(engine, pixels), Sampling(8, 0.0), BASE, failing)
    assert failing.wait().finish_reason == "error"
    answers = [submit(engine, CONVERSATIONS[number]) for number in (4, 3)]
    assert [answer.wait().token_ids for answer in answers] == [expected[4], expected[3]]


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (lambda: torch.empty(2**60, dtype=torch.uint8), "out of memory"),
        (lambda: bytearray(2**62), "out of memory"),
        (lambda: torch.zeros(2) @ torch.zeros(3), "RuntimeError"),
    ],
    ids=["no memory for torch", "no memory for Python", "another error"],
)
def test_a_step_that_fails_for_one_sequence_ends_that_one_alone(
    engine: TransformersEngine, expected: list[list[int]], fail: Callable[[], object], said: str
) -> None:
    decode = engine._runner.decode
    poison = engine.prepare(CONVERSATIONS[1], IMAGES)

    def fail_with_poison(sequences: Any, first_row: int = 0) -> torch.Tensor:
        poisoned = [one for one in sequences if one.prompt.input_ids == poison.input_ids]
        if any(sequence.num_sampled == 5 for sequence in poisoned):
            fail()
        return decode(sequences, first_row)

    engine._runner.decode = fail_with_poison  # type: ignore[method-assign]
    before, failing = submit(engine, CONVERSATIONS[0]), Answer()
    engine.submit(poison, Sampling(24, 0.0), BASE, failing)
    after = submit(engine, CONVERSATIONS[3])
    assert failing.wait().finish_reason == "error"
    assert failing.token_ids == expected[1][:5]
    assert said in (failing.deltas[-1].error or "")
    assert [before.wait().token_ids, after.wait().token_ids] == [expected[0], expected[3]]


def test_a_step_that_fails_for_all_ends_them_and_the_engine_goes_on(
    engine: TransformersEngine, expected: list[list[int]]
) -> None:
    decode = engine._runner.decode

    def fail(sequences: Any, first_row: int = 0) -> torch.Tensor:
        raise RuntimeError("all of them")

    engine._runner.decode = fail  # type: ignore[method-assign]
    answers = [submit(engine, CONVERSATIONS[number]) for number in (0, 1)]
    assert [answer.wait().finish_reason for answer in answers] == ["error", "error"]
    engine._runner.decode = decode  # type: ignore[method-assign]
    assert submit(engine, CONVERSATIONS[1]).wait().token_ids == expected[1]


def test_a_receiver_that_raises_does_not_stop_the_others(
    engine: TransformersEngine, expected: list[list[int]]
) -> None:
    def refuse(delta: Any) -> None:
        raise ConnectionError("gone")

    engine.submit(engine.prepare(ask("hello"), {}), Sampling(24, 0.0), BASE, refuse)
    assert submit(engine, CONVERSATIONS[2]).wait().token_ids == expected[2]


def test_a_tokenizer_that_fails_on_one_answer_ends_that_one_alone(
    engine: TransformersEngine, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    push = Detokenizer.push

    def fail_on_some(detokenizer: Detokenizer, token_id: int) -> str:
        if token_id == expected[1][0] and not (detokenizer._context or detokenizer._newest):
            raise OverflowError("out of range integral type conversion attempted")
        return push(detokenizer, token_id)

    monkeypatch.setattr(Detokenizer, "push", fail_on_some)
    answers = [submit(engine, CONVERSATIONS[number]) for number in (0, 1, 2)]
    assert [answer.wait().finish_reason == "error" for answer in answers] == [False, True, False]
    assert [answers[0].token_ids, answers[2].token_ids] == [expected[0], expected[2]]


def test_draws_are_the_same_after_a_step_that_was_tried_again(engine: TransformersEngine) -> None:
    def sampled() -> Answer:
        return submit(engine, CONVERSATIONS[1], temperature=1.0, seed=5)

    undisturbed = sampled().wait().token_ids
    decode, number = engine._runner.decode, iter(range(1_000))

    def fail_at_times(sequences: Any, first_row: int = 0) -> torch.Tensor:
        if next(number) % 6 == 3:
            raise RuntimeError("at times")
        return decode(sequences, first_row)

    engine._runner.decode = fail_at_times  # type: ignore[method-assign]
    assert sampled().wait().token_ids == undisturbed


def test_a_step_that_hangs_is_found_and_one_that_goes_on_is_well_again(folder: Path) -> None:
    engine = TransformersEngine.from_pretrained(folder, CONFIG.model_copy(update={"max_step_s": 0.2}))
    forward, is_hanging, go_on = engine._runner._model.forward, threading.Event(), threading.Event()

    def hang(*arguments: Any, **options: Any) -> Any:
        is_hanging.set()
        assert go_on.wait(WAIT_S)
        return forward(*arguments, **options)

    engine.check()
    engine._runner._model.forward = hang
    answer = submit(engine, CONVERSATIONS[0])
    assert is_hanging.wait(WAIT_S)
    threading.Event().wait(0.25)
    with pytest.raises(ServeError, match=r"longer than max_step_s, 0\.2 s"):
        engine.check()
    engine.close()  # does not wait for ever
    go_on.set()
    assert answer.wait().finish_reason == "error"


def test_an_engine_without_work_is_well_however_long_it_waits(folder: Path) -> None:
    engine = TransformersEngine.from_pretrained(folder, CONFIG.model_copy(update={"max_step_s": 0.2}))
    submit(engine, ask("x"), max_tokens=2).wait()
    wait_until(lambda: engine._step_began is None)
    threading.Event().wait(0.3)
    engine.check()
    engine.close()
    with pytest.raises(ServeError, match="thread has ended"):
        engine.check()


def test_a_device_that_is_lost_asks_for_a_new_process(engine: TransformersEngine) -> None:
    def fail(sequences: Any, first_row: int = 0) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    engine._runner.decode = fail  # type: ignore[method-assign]
    assert submit(engine, CONVERSATIONS[0]).wait().finish_reason == "error"
    with pytest.raises(ServeError, match="the device failed"):
        engine.check()


def test_a_replica_is_as_well_as_its_engine(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.replica.check_health()
        served.engine.check_failure = ServeError("a step of the engine takes longer than max_step_s, 120 s")
        with pytest.raises(ServeError, match="max_step_s"):
            served.replica.check_health()
