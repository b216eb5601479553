"""Several answers to one request, each with a record of its own; and answers of which no record is kept."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fake_engine import FakeEngine
from served import (
    MODEL,
    Served,
    body,
    data_url,
    encoded,
    error,
    events,
    image_part,
    listening,
    serving,
    wait_until,
)
from starlette.concurrency import run_in_threadpool

from align.state import Response
from serve.api.completion import Answer
from serve.engine.config import EngineConfig
from serve.engine.protocol import Delta, Prompt, Sampling

TEXT = "By base: a red cup and a fork."


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


def test_each_of_several_answers_has_a_seed_and_a_record_of_its_own(served: Served) -> None:
    response = served.chat(n=3, seed=7, max_tokens=20)
    answer = response.json()
    assert response.headers["x-errata-response-id"] == answer["id"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    ids = [choice["response_id"] for choice in answer["choices"]]
    assert ids == [answer["id"], f"{answer['id']}-1", f"{answer['id']}-2"]
    records = [served.store.responses.get(response_id) for response_id in ids]
    assert [record.sampling["seed"] for record in records] == [7, 8, 9]
    assert [record.text for record in records] == [TEXT] * 3
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 27, "total_tokens": 32}
    assert len(served.engine.prepared) == 1


def test_without_a_seed_none_is_made_up(served: Served) -> None:
    served.respond(n=2)
    assert [sampling.seed for sampling, _ in served.engine.submitted] == [None, None]


def test_each_of_several_answers_can_be_corrected(served: Served) -> None:
    for choice in served.chat(n=2).json()["choices"]:
        feedback = {"response_id": choice["response_id"], "corrected_text": TEXT.replace("red", "blue")}
        assert served.client.post("/feedback", json=feedback).status_code == 201


def test_several_answers_are_streamed_side_by_side(served: Served) -> None:
    *chunks, usage, done = events(served.chat(n=2, stream=True, stream_options={"include_usage": True}).text)
    assert done == "[DONE]"
    assert usage["usage"]["completion_tokens"] == 18
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    for index, response_id in enumerate([chunks[0]["id"], f"{chunks[0]['id']}-1"]):
        choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert choices[0]["delta"]["role"] == "assistant"
        assert "".join(choice["delta"].get("content", "") for choice in choices) == TEXT
        assert choices[-1]["finish_reason"] == "stop"
        assert {choice["response_id"] for choice in choices} == {response_id}


def test_where_one_of_several_has_no_place_none_is_begun(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.engine.hold()
    served.engine.max_waiting = 2
    error(served.chat(n=3), 429)
    wait_until(lambda: served.engine.speakers == {})
    assert len(served.engine.cancelled) == 2
    assert served.store.responses.count_by_adapter() == {}


def test_one_that_fails_ends_the_request_and_the_others_are_cancelled(tmp_path: Path) -> None:
    class OneFails(FakeEngine):
        def _speak(self, sequence_id: str, speaker: Any, sampling: Any) -> None:
            if sampling.seed == 1:
                return self._end(sequence_id, "error", "this one broke")
            return super()._speak(sequence_id, speaker, sampling)

    engine = OneFails()
    engine.hold()
    with serving(tmp_path, engine) as served:
        assert error(served.chat(n=2, seed=0), 500)["message"] == "this one broke"
        wait_until(lambda: engine.speakers == {})
        assert len(engine.cancelled) == 1


class EndingTogether(FakeEngine):
    """Its first two sequences say a word each and end in the same step."""

    def submit(
        self, prompt: Prompt, sampling: Sampling, adapter: str, on_delta: Callable[[Delta], None]
    ) -> str:
        self.waiting = [*getattr(self, "waiting", []), on_delta]
        if len(self.waiting) == 2:  # told before the request looks, so both come at once
            for number, waiting in enumerate(self.waiting):
                waiting(Delta((number,), f"word {number}", "stop"))
        return str(len(self.waiting))


def texts(served: Served) -> set[str]:
    return {text for _, text in served.store.responses.recent_texts(9)}


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_record_that_fails_takes_no_other_answer_of_the_same_step_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    with serving(tmp_path, EndingTogether()) as served:
        add, failures = served.store.responses.add, [OSError("disk full")]

        def add_the_second(response: Response, *arguments: Any) -> None:
            if failures:
                raise failures.pop()
            add(response, *arguments)

        monkeypatch.setattr(served.store.responses, "add", add_the_second)
        told = served.chat(n=2, stream=is_stream).text
        assert "internal error; the server's log says more" in told
        wait_until(lambda: texts(served) == {"word 1"}, 5)


def leaving(address: str, may_leave: Callable[[], bool], **changes: Any) -> None:
    """Ask, and hang up as soon as it may be."""

    async def ask_and_leave() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            request = client.post(f"{address}/v1/chat/completions", json=body(**changes))
            asked = asyncio.ensure_future(request)
            while not may_leave():
                await asyncio.sleep(0.005)
            asked.cancel()
            await asyncio.wait([asked])

    asyncio.run(ask_and_leave())


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_that_leaves_during_one_record_takes_no_other_answer_of_the_same_step_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    with serving(tmp_path, EndingTogether()) as served, listening(served) as address:
        add, is_recording, may_go_on = served.store.responses.add, threading.Event(), threading.Event()

        def add_slowly(*arguments: Any) -> None:
            is_recording.set()
            may_go_on.wait(20)
            add(*arguments)

        monkeypatch.setattr(served.store.responses, "add", add_slowly)
        leaving(address, is_recording.is_set, n=2, stream=is_stream)
        threading.Event().wait(0.2)  # until the server has noticed
        may_go_on.set()
        wait_until(lambda: texts(served) == {"word 0", "word 1"}, 5)


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_that_waits_for_a_thread_to_be_recorded_in_is_recorded_though_its_client_leaves(
    served: Served, monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    is_waiting = threading.Event()

    async def wait_the_first_time(work: Callable[..., Any], *arguments: Any) -> Any:
        if work.__name__ == "_record" and not is_waiting.is_set():
            is_waiting.set()
            await asyncio.sleep(60)
        return await run_in_threadpool(work, *arguments)

    monkeypatch.setattr("serve.api.answers.run_in_threadpool", wait_the_first_time)
    with listening(served) as address:
        leaving(address, is_waiting.is_set, stream=is_stream)
        wait_until(lambda: texts(served) == {TEXT}, 5)


class InALongStep(FakeEngine):
    """Each sequence says a word, and then nothing for longer than a step may take."""

    def submit(
        self, prompt: Prompt, sampling: Sampling, adapter: str, on_delta: Callable[[Delta], None]
    ) -> str:
        on_delta(Delta((1,), "word"))
        return "a sequence"


def test_what_a_client_that_left_may_have_read_is_recorded_though_the_engine_does_not_come_to_end_it(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, InALongStep()) as served, listening(served) as address:
        of_engine = {"engine": EngineConfig(max_step_s=0.2)}
        served.replica.settings = served.replica.settings.model_copy(update=of_engine)
        began = time.monotonic()
        leaving(address, lambda: time.monotonic() - began > 0.5, stream=True)
        wait_until(lambda: texts(served) == {"word"}, 5)


def test_an_answer_is_recorded_once_whoever_is_about_to() -> None:
    answer = Answer(0, "r1", Sampling(max_tokens=4))
    assert not answer.is_unrecorded
    answer.take(Delta((1,), "word", "stop"), 0.1)
    assert answer.is_unrecorded
    assert [answer.begin_record() for _ in range(3)] == [True, False, False]
    assert not answer.is_unrecorded


def test_what_is_not_stored_is_answered_and_cannot_be_corrected(served: Served) -> None:
    response = served.chat(store=False)
    answer = response.json()
    assert answer["choices"][0]["message"]["content"] == TEXT
    assert "response_id" not in answer["choices"][0]
    assert "x-errata-response-id" not in response.headers
    assert response.headers["x-errata-adapter"] == "base"
    assert served.store.responses.count_by_adapter() == {}
    refused = served.client.post("/feedback", json={"response_id": answer["id"], "spans": []})
    assert "store=false" in error(refused, 404)["message"]
    assert 'errata_responses_total{adapter="base",finish_reason="stop"' in served.client.get("/metrics").text


def test_what_is_not_stored_leaves_no_image_either(served: Served) -> None:
    picture = [image_part(data_url(encoded()))]
    folder = served.replica.settings.state / "blobs" / "images"
    served.chat(picture, store=False)
    *chunks, _ = events(served.chat(picture, store=False, stream=True).text)
    assert all("response_id" not in chunk["choices"][0] for chunk in chunks)
    assert not folder.exists()
    served.chat(picture)
    assert folder.exists()


def test_a_user_and_metadata_are_kept_with_the_answer_and_forgotten_with_it(served: Served) -> None:
    metadata = {"session": "1", "x" * 64: "y" * 512}
    response_id = served.respond(user="ada", metadata=metadata)
    record = served.client.get(f"/v1/responses/{response_id}").json()
    assert (record["user"], record["metadata"]) == ("ada", metadata)
    assert served.client.delete(f"/v1/responses/{response_id}").status_code == 200
    erased = served.store.responses.get(response_id)
    assert (erased.user, erased.metadata) == (None, {})


def test_openais_client_reads_several_answers(served: Served) -> None:
    with (
        listening(served) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        completion = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "What?"}], n=2, store=True, user="ada"
        )
        assert [choice.message.content for choice in completion.choices] == [TEXT, TEXT]
        ids = [(choice.model_extra or {})["response_id"] for choice in completion.choices]
        assert ids == [completion.id, f"{completion.id}-1"]
