"""Chat over HTTP: OpenAI's answers, whole and streamed; what is not served is refused with its name."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_engine import FakeEngine
from served import MODEL, SLOW, Served, body, error, events, listening, serving, wait_until

from serve.api import answers
from serve.api.logprobs import logprobs_json
from serve.api.schema.chat import CHANGES_NOTHING
from serve.engine.protocol import EngineStats, Prompt, ScoredToken, TokenLogprobs
from serve.errors import EngineFull, InvalidRequest

TEXT = "By base: a red cup and a fork."


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For tests that leave nothing behind."""
    with serving(tmp_path_factory.mktemp("shared")) as served:
        yield served


# --- whole


def test_an_answer_is_openais_and_names_its_version(served: Served) -> None:
    response = served.chat(max_tokens=16)
    answer = response.json()
    assert answer["id"] == response.headers["x-errata-response-id"]
    assert response.headers["x-errata-adapter"] == answer["system_fingerprint"] == "base"
    assert (answer["object"], answer["model"]) == ("chat.completion", MODEL)
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT},
            "finish_reason": "stop",
            "logprobs": None,
            "response_id": answer["id"],
        }
    ]
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


def test_the_record_holds_what_was_asked_and_said(served: Served) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What"}, {"type": "text", "text": "is it? 🙂"}],
        },
    ]
    response_id = served.respond(
        messages=messages, temperature=0.5, top_p=0.9, seed=7, stop="\n", top_k=5, logit_bias={"7": -1}
    )
    record = served.store.responses.get(response_id)
    assert record.conversation == [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What"}, {"type": "text", "text": "is it? 🙂"}],
        },
    ]
    assert (record.text, record.token_ids, record.finish_reason) == (TEXT, [*range(8), 999], "stop")
    assert (record.model, record.adapter, record.key_id) == (MODEL, "base", "anonymous")
    assert record.sampling == {
        "max_tokens": 58,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n"],
        "top_k": 5,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "logit_bias": {"7": -1.0},
        "top_logprobs": None,
    }
    assert 0 < record.timings["first_token_s"] <= record.timings["total_s"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_at_the_length_that_was_asked_for(served: Served, field: str) -> None:
    choice = served.chat(**{field: 3}).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("By base: a", "length")


def test_null_means_the_default(served: Served) -> None:
    nulls = dict.fromkeys(("temperature", "top_p", "n", "stream", "stop", "seed", "max_tokens", "tools"))
    served.respond(**nulls)
    assert served.engine.submitted[-1][0].temperature == 1.0


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in CHANGES_NOTHING.items() for value in values]
)
def test_fields_that_change_nothing_are_taken(shared: Served, field: str, value: Any) -> None:
    shared.respond(**{field: value})
    shared.engine.submitted.clear()


def test_an_answer_can_be_sent_back_with_all_its_empty_fields(shared: Served) -> None:
    nulls = dict.fromkeys(("refusal", "audio", "function_call", "tool_calls", "name"))
    said = {"role": "assistant", "content": "A cup.", **nulls}
    shared.respond(messages=[body()["messages"][0], said, {"role": "user", "content": "And a fork?"}])
    shared.engine.submitted.clear()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"user": "x" * 513}, "user"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"metadata": {"x" * 65: "x"}}, "metadata"),
        ({"metadata": {"x": "x" * 513}}, "metadata.x"),
        ({"metadata": {"x": 1}}, "metadata.x"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 10**400}, "top_k"),
        ({"min_p": 1.1}, "min_p"),
        ({"presence_penalty": -2.1}, "presence_penalty"),
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"logit_bias": {"-1": 1}}, "logit_bias.-1"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {"1": float("nan")}}, "logit_bias.1"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"temprature": 0}, "temprature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"stream_options": {"usage": True}}, "stream_options.usage"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages.0.tool_calls"),
        ({"messages": [{"role": "user", "content": "half \ud83d"}]}, "messages.0.content"),
        ({"model": None}, "model"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(
    shared: Served, changes: dict[str, Any], field: str
) -> None:
    response = shared.client.post(
        "/v1/chat/completions",
        content=json.dumps(body(**changes)),
        headers={"content-type": "application/json"},
    )
    detail = error(response, 400)
    assert detail["type"] == "invalid_request_error"
    assert detail["param"].startswith(field)
    assert field in detail["message"]
    assert shared.engine.submitted == []


def test_a_part_that_is_not_supported_is_named(shared: Served) -> None:
    part = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    assert "'input_audio'" in error(shared.chat([part]), 400)["message"]


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"\xff", b'{"model": "x"}'])
def test_a_body_that_is_no_request_is_refused(shared: Served, content: bytes) -> None:
    response = shared.client.post(
        "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    )
    error(response, 400)


def test_broken_json_is_called_so(shared: Served) -> None:
    response = shared.client.post(
        "/v1/chat/completions", content=b'{"a" 1}', headers={"content-type": "application/json"}
    )
    assert error(response, 400)["message"] == "the body is not valid JSON: Expecting ':' delimiter"


def test_more_than_four_stop_strings_are_refused(shared: Served) -> None:
    assert "at most four stop strings" in error(shared.chat(stop=list("abcde")), 400)["message"]


def test_the_last_word_must_be_the_users(shared: Served) -> None:
    messages = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cup."}]
    assert error(shared.chat(messages=messages), 400)["message"] == "the last message must be the user's"


def test_a_prompt_that_is_too_long_is_refused(shared: Served) -> None:
    detail = error(shared.chat("word " * 100), 400)
    assert "100 tokens" in detail["message"]
    assert "never fit" in error(shared.chat("word " * 10, max_tokens=60), 400)["message"]


def test_a_bias_on_what_is_no_token_is_the_callers_mistake(served: Served) -> None:
    served.engine.submit_failure = InvalidRequest("logit_bias names 999999, but ...")
    assert error(served.chat(logit_bias={"999999": 1}), 400)["type"] == "invalid_request_error"


def test_top_logprobs_need_logprobs(shared: Served) -> None:
    assert "top_logprobs needs logprobs" in error(shared.chat(top_logprobs=2), 400)["message"]


# --- log-probabilities


def test_logprobs_have_openais_shape_whole_and_streamed(served: Served) -> None:
    asked = {"logprobs": True, "top_logprobs": 2, "max_tokens": 2}
    expected = [
        {
            "token": word,
            "logprob": -index,
            "bytes": list(word.encode()),
            "top_logprobs": [
                {"token": word, "logprob": -index - n, "bytes": list(word.encode())} for n in (0, 1)
            ],
        }
        for index, word in enumerate(["By", " base:"])
    ]
    choice = served.chat(**asked).json()["choices"][0]
    assert choice["logprobs"] == {"content": expected, "refusal": None}
    *chunks, _ = events(served.chat(stream=True, **asked).text)
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry for one in logprobs if one is not None for entry in one["content"]] == expected


def test_logprobs_without_alternatives_have_an_empty_list_of_them(served: Served) -> None:
    content = served.chat(logprobs=True).json()["choices"][0]["logprobs"]["content"]
    assert [entry["top_logprobs"] for entry in content] == [[]] * 8
    assert served.chat(logprobs=False).json()["choices"][0]["logprobs"] is None


def test_a_token_that_is_half_a_character_and_one_that_cannot_be_are_told_as_openai_does() -> None:
    half = ScoredToken(1, "🙂".encode()[:2], -math.inf)
    [entry] = logprobs_json([TokenLogprobs(half, ())])["content"]
    assert entry == {"token": "\ufffd", "logprob": -9999.0, "bytes": [240, 159], "top_logprobs": []}


# --- versions


@pytest.mark.parametrize(
    ("pin", "version"), [("@v0001", "v0001"), ("@v1", "v0001"), ("@base", "base"), ("@latest", "base")]
)
def test_a_request_may_pin_a_version(tmp_path: Path, pin: str, version: str) -> None:
    with serving(tmp_path, rollout=SLOW) as served:  # it releases nothing while the test looks
        served.engine.loaded |= {"v0001": Path(), "v0002": Path()}
        response = served.chat(model=MODEL + pin)
        assert response.headers["x-errata-adapter"] == version
        assert response.json()["model"] == MODEL + pin
        assert response.json()["choices"][0]["message"]["content"].startswith(f"By {version}:")
        assert served.store.responses.get(response.json()["id"]).adapter == version


@pytest.mark.parametrize("model", ["gpt-5", f"{MODEL}@v9", f"{MODEL}@nine", ""])
def test_what_is_not_served_is_not_found(shared: Served, model: str) -> None:
    detail = error(shared.chat(model=model), 404)
    assert (detail["type"], detail["code"]) == ("not_found_error", "model_not_found")


# --- limits and failures


def test_a_full_queue_says_when_to_come_back(served: Served) -> None:
    served.engine.submit_failure = EngineFull("8 requests are waiting already: ask again later.")
    response = served.chat()
    assert error(response, 429)["type"] == "rate_limit_error"
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(("num_running", "num_waiting"), [(4, 8), (0, 12)])
def test_who_has_to_come_back_is_told_before_the_prompt_is_read(
    served: Served, monkeypatch: pytest.MonkeyPatch, num_running: int, num_waiting: int
) -> None:
    full = EngineStats(num_running, num_waiting, 4, 8, 0, 0, ())
    monkeypatch.setattr(served.engine, "stats", lambda: full)
    error(served.chat(), 429)
    assert served.engine.prepared == []
    monkeypatch.setattr(served.engine, "stats", lambda: replace(full, num_waiting=num_waiting - 1))
    assert served.chat().status_code == 200


def test_prompts_that_wait_to_be_read_count_as_requests_that_are_here(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reading, may_go_on, prepare = threading.Event(), threading.Event(), served.engine.prepare

    def prepare_slowly(*arguments: Any) -> Prompt:
        is_reading.set()
        may_go_on.wait(20)
        return prepare(*arguments)

    monkeypatch.setattr(served.engine, "prepare", prepare_slowly)
    monkeypatch.setattr(served.engine, "stats", lambda: EngineStats(4, 7, 4, 8, 0, 0, ()))
    with ThreadPoolExecutor() as threads:
        first = threads.submit(served.chat)
        assert is_reading.wait(20)
        assert "12 requests are here already" in error(served.chat(), 429)["message"]
        may_go_on.set()
        assert first.result().status_code == 200


def test_the_deadline_holds_while_the_prompt_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, request_deadline_s=0.2) as served:
        may_go_on = threading.Event()
        monkeypatch.setattr(served.engine, "prepare", lambda *_: may_go_on.wait(20))
        assert "the prompt was not read within 0.2 s" in error(served.chat(), 504)["message"]
        assert served.engine.submitted == []
        may_go_on.set()


@pytest.mark.parametrize(("doubt_s", "deadline_s"), [(0.05, 300.0), (300.0, 0.05)])
def test_a_store_too_slow_to_be_certain_of_what_is_in_force_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doubt_s: float, deadline_s: float
) -> None:
    monkeypatch.setattr(answers, "DOUBT_S", doubt_s)
    with serving(tmp_path, request_deadline_s=deadline_s) as served:
        monkeypatch.setattr(served.replica.reconciler, "certainly_in_force", lambda: None)
        response = served.chat()
        assert "too slowly" in error(response, 503)["message"]
        assert response.headers["retry-after"] == "1"


def test_a_replica_that_lacks_what_is_in_force_asks_for_patience(served: Served) -> None:
    from records import adapter_row

    adapter_row(served.store)
    served.engine.hold_loads()
    generation = served.store.rollouts.propose("v0001").generation
    served.store.rollouts.commit(generation, ahead_s=0.0)
    wait_until(lambda: served.replica.reconciler.in_force().live == "v0001")
    response = served.chat()
    assert "v0001 is in force, but not loaded here yet" in error(response, 503)["message"]
    assert response.headers["retry-after"] == "1"
    served.respond(model=f"{MODEL}@base")


@pytest.mark.parametrize("num_words", [0, 3])
def test_a_sequence_that_fails_is_an_error_and_no_record(served: Served, num_words: int) -> None:
    served.engine.error_after = num_words
    assert error(served.chat(), 500)["message"] == "the fake engine broke"
    assert served.store.responses.count_by_adapter() == {}


def test_an_unexpected_error_says_nothing_of_its_cause(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(served.engine, "prepare", fail)
    detail = error(served.chat(), 500)
    assert detail["message"] == "internal error; the server's log says more"
    assert "errata_requests_total" in (metrics := served.client.get("/metrics").text)
    assert 'route="/v1/chat/completions",status="500"} 1.0' in metrics


def test_an_answer_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with serving(tmp_path, request_deadline_s=0.2) as served:
        served.engine.hold()
        assert error(served.chat(), 504)["message"] == "the answer took longer than 0.2 s"
        wait_until(lambda: served.engine.speakers == {})
        assert len(served.engine.cancelled) == 1


# --- streamed


def test_a_stream_is_openais(served: Served) -> None:
    response = served.chat(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    *chunks, done = events(response.text)
    assert done == "[DONE]"
    assert {chunk["id"] for chunk in chunks} == {response.headers["x-errata-response-id"]}
    assert {chunk["system_fingerprint"] for chunk in chunks} == {response.headers["x-errata-adapter"]}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == TEXT
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_last_where_it_is_asked_for(served: Served) -> None:
    *_, usage, done = events(served.chat(stream=True, stream_options={"include_usage": True}).text)
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


def test_characters_that_need_care_arrive_as_they_are(tmp_path: Path) -> None:
    text = 'Ein 🥚 "e\u0301" \u2028 \x00 \\ data: [DONE]'
    with serving(tmp_path, FakeEngine(answers={"base": text})) as served:
        *chunks, done = events(served.chat(stream=True).text)
        assert done == "[DONE]"
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == text
        assert served.store.responses.get(chunks[0]["id"]).text == text
        assert served.chat().json()["choices"][0]["message"]["content"] == text


def test_a_stream_that_fails_ends_with_an_error_and_is_not_done(served: Served) -> None:
    served.engine.error_after = 2
    response = served.chat(stream=True)
    assert response.status_code == 200
    *chunks, last = events(response.text)
    assert last["error"]["message"] == "the fake engine broke"
    assert last["error"]["type"] == "server_error"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == "By base:"
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks} == {None}


def test_a_record_that_cannot_be_written_fails_the_stream(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(served.store.responses, "add", fail)
    *chunks, last = events(served.chat(stream=True).text)
    assert last["error"]["message"] == "internal error; the server's log says more"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


def test_a_stream_that_takes_too_long_ends_with_an_error(tmp_path: Path) -> None:
    with serving(tmp_path, request_deadline_s=0.2) as served:
        served.engine.hold()
        *_, last = events(served.chat(stream=True).text)
        assert last["error"]["message"] == "the answer took longer than 0.2 s"
        wait_until(lambda: served.engine.speakers == {})


# --- over a real socket


@pytest.fixture
def address(served: Served) -> Iterator[str]:
    with listening(served) as address:
        yield address


def read_chunk(lines: Iterator[str]) -> Any:
    line = next(line for line in lines if line)
    return line.removeprefix("data: ") if "[DONE]" in line else json.loads(line.removeprefix("data: "))


@contextmanager
def streaming(address: str) -> Iterator[Iterator[str]]:
    with (
        httpx.Client(trust_env=False, timeout=20) as client,
        client.stream("POST", f"{address}/v1/chat/completions", json=body(stream=True)) as response,
    ):
        yield response.iter_lines()


def test_words_come_as_they_are_said_and_the_record_is_there_before_the_last_chunk(
    served: Served, address: str
) -> None:
    served.engine.hold()
    with streaming(address) as lines:
        assert read_chunk(lines)["choices"][0]["delta"]["role"] == "assistant"
        assert read_chunk(lines)["choices"][0]["delta"]["content"] == "By"
        assert served.store.responses.count_by_adapter() == {}
        served.engine.go_on()
        while (chunk := read_chunk(lines))["choices"][0]["finish_reason"] is None:
            pass
        record = served.store.responses.get(chunk["id"])
        assert (record.text, record.finish_reason) == (TEXT, "stop")
        assert read_chunk(lines) == "[DONE]"


def test_a_client_that_leaves_a_stream_frees_its_sequence_and_can_still_correct_what_it_read(
    served: Served, address: str
) -> None:
    served.engine.hold()
    with streaming(address) as lines:
        read_chunk(lines)
        response_id = read_chunk(lines)["id"]
    wait_until(lambda: served.engine.speakers == {})
    assert len(served.engine.cancelled) == 1
    wait_until(lambda: served.store.responses.count_by_adapter() == {"base": 1})
    record = served.store.responses.get(response_id)
    assert (record.text, record.finish_reason) == ("By", "cancelled")
    assert served.store.responses.uncorrected("base") == [], "what broke off is no example of a whole answer"


def test_a_client_that_leaves_a_whole_answer_frees_its_sequence(served: Served, address: str) -> None:
    served.engine.hold()

    async def ask_and_leave() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            asked = asyncio.ensure_future(client.post(f"{address}/v1/chat/completions", json=body()))
            while not served.engine.speakers:
                await asyncio.sleep(0.005)
            asked.cancel()
            await asyncio.wait([asked])

    asyncio.run(ask_and_leave())
    wait_until(lambda: served.engine.speakers == {})
    assert len(served.engine.cancelled) == 1
    wait_until(lambda: served.store.responses.count_by_adapter() == {"base": 1})
    assert served.store.responses.recent_texts(1)[0][1] == "By", "it said no further word"


def test_many_clients_are_answered_at_once(served: Served, address: str) -> None:
    served.engine.hold()

    async def ask_all() -> list[str]:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            asked = [
                asyncio.ensure_future(client.post(f"{address}/v1/chat/completions", json=body()))
                for _ in range(6)
            ]
            while len(served.engine.speakers) < 6:
                await asyncio.sleep(0.005)
            served.engine.go_on()
            return [(await response).json()["id"] for response in asked]

    assert len(set(asyncio.run(ask_all()))) == 6


def test_a_body_without_a_length_is_refused_while_it_is_read(tmp_path: Path) -> None:
    with serving(tmp_path, max_body_bytes=1000) as served, listening(served) as address:

        def pieces() -> Iterator[bytes]:
            for _ in range(20):
                yield b" " * 100

        with httpx.Client(trust_env=False, timeout=20) as client:
            response = client.post(
                f"{address}/v1/chat/completions",
                content=pieces(),
                headers={"content-type": "application/json"},
            )
        assert "a request may have 1000 bytes" in error(response, 413)["message"]
