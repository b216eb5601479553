"""An engine in a process of its own is the engine: the same tokens, the same refusals; and what its end means."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import tiny_models
import torch
from engine_world import CONVERSATIONS, IMAGES, Answer, ask, peft_model, save_adapter, submit
from served import wait_until
from transformers import AutoModelForImageTextToText

from align.errors import InvalidAdapter
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.process import EngineProcess
from serve.engine.protocol import BASE, Delta, Sampling, ScoredToken, TokenLogprobs
from serve.engine.wire import Cancel, Line, Parcel, Start, Submit, Told, pack, unpack
from serve.errors import (
    EngineFull,
    InvalidPrompt,
    InvalidRequest,
    NotReady,
    ServeError,
    SettingsError,
    UnknownAdapter,
)

CONFIG = EngineConfig(
    max_num_sequences=4, max_model_len=256, num_adapter_slots=2, max_rank=8, max_waiting=2, max_step_s=5.0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    return save_adapter(peft_model(model, 0), tmp_path_factory.mktemp("adapters") / "0")


@pytest.fixture(scope="module")
def engine(folder: Path, adapter: Path) -> Iterator[EngineProcess]:
    engine = EngineProcess(folder, CONFIG)
    engine.load("v0001", adapter)
    yield engine
    engine.close()


def gone(pid: int) -> bool:
    """Waits for it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_it_answers_as_the_engine_in_this_process_does(
    engine: EngineProcess, folder: Path, adapter: Path
) -> None:
    asked = [(conversation, name) for conversation in CONVERSATIONS for name in (BASE, "v0001")]
    answers = []
    for index, (conversation, name) in enumerate(asked):
        answers.append(submit(engine, conversation, name, top_logprobs=2, temperature=index % 2, seed=index))
        if len(answers) % CONFIG.max_num_sequences == 0:  # more than may wait
            for answer in answers:
                answer.wait()
    told = [(answer.wait().token_ids, answer.text, answer.finish_reason) for answer in answers]
    logprobs = [[one for delta in answer.deltas for one in delta.logprobs] for answer in answers]
    reference = TransformersEngine.from_pretrained(folder, CONFIG.model_copy(update={"max_waiting": 100}))
    try:
        reference.load("v0001", adapter)
        expected = [
            submit(reference, conversation, name, top_logprobs=2, temperature=index % 2, seed=index)
            for index, (conversation, name) in enumerate(asked)
        ]
        assert told == [(answer.wait().token_ids, answer.text, answer.finish_reason) for answer in expected]
        for ours, answer in zip(logprobs, expected, strict=True):
            theirs = [one for delta in answer.deltas for one in delta.logprobs]
            assert [one.sampled.token_id for one in ours] == [one.sampled.token_id for one in theirs]
            assert [one.sampled.logprob for one in ours] == pytest.approx(
                [one.sampled.logprob for one in theirs], abs=1e-4
            )
    finally:
        reference.close()
    assert engine.setup == reference.setup
    assert engine.stats().num_generated_tokens >= sum(len(token_ids) for token_ids, _, _ in told)
    assert (engine.stats().num_running, engine.stats().num_waiting) == (0, 0)


def test_what_is_said_between_the_two_arrives_as_it_was() -> None:
    sampling = Sampling(
        5, 0.5, seed=-(2**63), stop=("\n\u2028", "🙂"), logit_bias={7: -100.0}, top_logprobs=1
    )
    tensors = {
        "pixel_values": torch.rand(2, 3, 4, 4),
        "grid": torch.tensor([[1, 2, 3]]),
        "is_on": torch.tensor([True]),
    }
    scored = ScoredToken(3, b"\xf0\x9f", float("-inf"))
    delta = Delta((3, 4), "a\u0000🙂", "error", "why", (TokenLogprobs(scored, (scored, scored)),))
    parcels = [
        Parcel(Submit("s", (1, 2), ("x", "x"), sampling, BASE), tensors),
        Parcel(Told("s", delta)),
        Parcel(Submit("t", (1,), (), Sampling(1), "v0001"), {"pixel_values": torch.zeros(0, 3)}),
    ]
    arrived = unpack(pack(parcels))
    assert [parcel.message for parcel in arrived] == [parcel.message for parcel in parcels]
    for there, here in zip(arrived, parcels, strict=True):
        assert there.tensors.keys() == here.tensors.keys()
        assert all(torch.equal(there.tensors[name], here.tensors[name]) for name in here.tensors)


def test_answers_to_one_prompt_share_its_tensors_and_all_arrive(engine: EngineProcess) -> None:
    prompt, answers = engine.prepare(CONVERSATIONS[1], IMAGES), [Answer() for _ in range(4)]
    for answer in answers:
        engine.submit(prompt, Sampling(8, 0.0), BASE, answer)
    assert len({answer.wait().text for answer in answers}) == 1
    parcels = [
        Parcel(Submit(name, (1,), ("x",), Sampling(1), BASE), {"pixel_values": shared})
        for shared in [torch.rand(2, 3)]
        for name in ("s", "t")
    ]
    assert len({parcel.tensors["pixel_values"].sum().item() for parcel in unpack(pack(parcels))}) == 1


def test_where_one_end_can_say_nothing_any_more_both_readers_end() -> None:
    lines = [Line(end) for end in socket.socketpair()]
    readers = [threading.Thread(target=list, args=(line.received(),)) for line in lines]
    for reader in readers:
        reader.start()
    lines[0].send(Cancel("half of a pair: \ud800"))  # is no UTF-8
    for reader in readers:
        reader.join(10)
        assert not reader.is_alive()
    for line in lines:
        line.close()


def test_what_can_never_be_answered_is_refused_at_once(engine: EngineProcess) -> None:
    prompt = engine.prepare(CONVERSATIONS[0], IMAGES)
    with pytest.raises(InvalidPrompt, match="max_tokens"):
        engine.submit(prompt, Sampling(10_000), BASE, Answer())
    with pytest.raises(InvalidRequest, match="logit_bias"):
        engine.submit(prompt, Sampling(1, logit_bias={10**8: 1.0}), BASE, Answer())
    with pytest.raises(UnknownAdapter, match=r"'v0002' is not loaded; loaded are \['base', 'v0001'\]"):
        engine.submit(prompt, Sampling(1), "v0002", Answer())
    with pytest.raises(InvalidPrompt, match="shorten it"):
        engine.prepare(ask("word " * 500), IMAGES)


def test_it_is_full_where_as_many_wait_as_may_and_a_cancelled_one_makes_room(engine: EngineProcess) -> None:
    bias = {"logit_bias": dict.fromkeys(engine._renderer.eos_token_ids, -100.0)}
    prompt, answers = engine.prepare(CONVERSATIONS[0], IMAGES), [Answer() for _ in range(6)]
    sampling = Sampling(200, 0.0, **bias)  # type: ignore[arg-type]
    ids = [engine.submit(prompt, sampling, BASE, answer) for answer in answers]
    with pytest.raises(EngineFull, match="2 requests are waiting"):
        engine.submit(prompt, sampling, BASE, Answer())
    for sequence_id in ids:
        engine.cancel(sequence_id)
    assert {answer.wait().finish_reason for answer in answers} <= {"cancelled", "length"}
    assert "cancelled" in {answer.finish_reason for answer in answers}
    engine.cancel(ids[0])  # has ended: nothing


def test_a_version_comes_and_goes_and_one_that_cannot_be_loaded_says_why(
    engine: EngineProcess, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidAdapter):
        engine.load("v0009", tmp_path)
    with pytest.raises(InvalidAdapter, match="another name"):
        engine.load(BASE, adapter)
    engine.load("v0002", adapter)
    assert engine.stats().adapters == ("v0001", "v0002")
    with pytest.raises(EngineFull, match="slots are taken"):
        engine.load("v0003", adapter)
    engine.unload("v0002")
    assert engine.stats().adapters == ("v0001",)
    prompt = engine.prepare(CONVERSATIONS[0], IMAGES)
    with pytest.raises(UnknownAdapter):
        engine.submit(prompt, Sampling(1), "v0002", Answer())
    engine.load("v0003", adapter)
    engine.unload("v0003")


def test_a_receiver_that_fails_is_cancelled_and_the_others_go_on(engine: EngineProcess) -> None:
    heard = threading.Event()

    def fails(_: Delta) -> None:
        heard.set()
        raise RuntimeError("its loop is closed")

    prompt = engine.prepare(CONVERSATIONS[0], IMAGES)
    engine.submit(prompt, Sampling(200, 0.0), BASE, fails)
    assert submit(engine, CONVERSATIONS[1]).wait().finish_reason in ("stop", "length")
    assert heard.is_set()
    engine.check()


def test_a_model_that_cannot_be_loaded_is_said_so_and_leaves_no_process(tmp_path: Path) -> None:
    others = {child.pid for child in psutil.Process().children()}
    with pytest.raises(SettingsError, match=r"did not start: .*CUDA"):
        EngineProcess(tiny_models.tiny_llava(tmp_path / "model"), EngineConfig(device="cuda:7"))
    assert {child.pid for child in psutil.Process().children()} <= others


def test_a_process_that_says_nothing_or_has_ended_is_found_out_and_its_answers_fail(folder: Path) -> None:
    engine = EngineProcess(folder, CONFIG.model_copy(update={"max_step_s": 2.0}))
    os.kill(engine.pid, signal.SIGSTOP)
    assert "said nothing for" in illness(engine)
    os.kill(engine.pid, signal.SIGCONT)
    assert submit(engine, CONVERSATIONS[0]).wait().finish_reason in ("stop", "length")
    engine.check()

    answers = [submit(engine, CONVERSATIONS[0], max_tokens=200) for _ in range(3)]
    os.kill(engine.pid, signal.SIGKILL)
    for answer in answers:
        answer.wait()
    assert {answer.finish_reason for answer in answers} <= {"error", "stop", "length"}
    assert "has ended" in illness(engine)
    with pytest.raises(NotReady, match="another one will come"):
        submit(engine, CONVERSATIONS[0])
    with pytest.raises(NotReady):
        engine.load("v0001", folder)
    engine.close()
    with pytest.raises(EngineFull, match="is closing"):
        submit(engine, CONVERSATIONS[0])


def test_a_process_that_stands_still_is_killed_and_who_waits_for_it_hears_of_it(folder: Path) -> None:
    engine = EngineProcess(folder, CONFIG.model_copy(update={"max_step_s": 2.0}))
    answers = [submit(engine, CONVERSATIONS[0], max_tokens=200) for _ in range(3)]
    os.kill(engine.pid, signal.SIGSTOP)
    assert "said nothing for" in illness(engine)
    wait_until(lambda: "has ended" in illness(engine))
    assert "error" in {answer.wait().finish_reason for answer in answers}
    engine.close()


def illness(engine: EngineProcess) -> str:
    """Waits for it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            engine.check()
        except ServeError as error:
            return str(error)
        time.sleep(0.1)
    return "none"


SLOW_HOST = """
import sys, time
from serve.engine import host
def load(*_):
    print("loading", flush=True)
    time.sleep(60)
host.TransformersEngine.from_pretrained = load
host.main(int(sys.argv[1]))
"""


def test_it_does_not_outlive_a_replica_that_is_killed_while_the_model_is_loaded() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-c", SLOW_HOST, str(theirs.fileno())]
        host = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    line = Line(ours)
    line.send(Start("any", CONFIG, None, None))
    assert host.stdout.readline() == "loading\n"
    line.close()  # as the kernel does it
    assert host.wait(30) == 1
    host.stdout.close()


PARENT = """
import sys, time
from serve.engine.config import EngineConfig
from serve.engine.process import EngineProcess
engine = EngineProcess(sys.argv[1], EngineConfig(max_model_len=64))
print(engine.pid, flush=True)
time.sleep(60)
"""


def test_it_does_not_outlive_a_replica_that_is_killed(folder: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.stdout.close()
    parent.wait()
    assert gone(pid)
