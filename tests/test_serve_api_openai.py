"""OpenAI's own client, as it is installed, drives a listening server: answers, streams, models, headers and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fake_engine import FakeEngine
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from records import response
from served import MODEL, Served, data_url, encoded, listening, serving

TEXT = "A red cup and a fork."
QUESTION: Any = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is there?"},
            {"type": "image_url", "image_url": {"url": data_url(encoded()), "detail": "low"}},
        ],
    },
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("state"), FakeEngine(answers={"base": TEXT})) as served:
        yield served


@pytest.fixture(scope="module")
def url(served: Served) -> Iterator[str]:
    with listening(served) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def test_an_answer_is_a_chat_completion(client: OpenAI, served: Served) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, user="ada")
    assert isinstance(completion, ChatCompletion)
    (choice,) = completion.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", TEXT, "stop")
    assert completion.usage is not None
    num_tokens = len(TEXT.split()) + 1
    assert completion.usage.completion_tokens == num_tokens
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + num_tokens
    assert (completion.model, completion.system_fingerprint) == (MODEL, "base")
    assert served.store.responses.get(completion.id).text == TEXT


def test_what_openai_has_and_what_it_has_not_steers_the_answer(client: OpenAI) -> None:
    scored = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        logprobs=True,
        top_logprobs=1,
        logit_bias={"7": -100},
        presence_penalty=0.5,
        extra_body={"top_k": 4, "min_p": 0.1},
    )
    assert scored.choices[0].logprobs is not None
    tokens = scored.choices[0].logprobs.content or []
    assert bytes(byte for token in tokens for byte in token.bytes or []).decode() == TEXT


def test_headers_come_with_the_raw_response(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION)
    completion = raw.parse()
    assert raw.headers["x-errata-response-id"] == completion.id
    assert raw.headers["x-errata-adapter"] == "base"
    assert completion.choices[0].message.content == TEXT


def test_a_stream_gives_the_same_text_and_the_usage_at_its_end(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert all(isinstance(chunk, ChatCompletionChunk) for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    *pieces, last = chunks
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == TEXT
    assert [piece.choices[0].finish_reason for piece in pieces if piece.choices[0].finish_reason] == ["stop"]
    assert pieces[0].choices[0].delta.role == "assistant"
    assert (last.choices, all(piece.usage is None for piece in pieces)) == ([], True)
    assert last.usage is not None
    assert last.usage.completion_tokens == len(TEXT.split()) + 1


def test_the_stream_helper_puts_the_chunks_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=QUESTION) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        completion = stream.get_final_completion()
    assert said == completion.choices[0].message.content == TEXT


def test_streamed_bytes_come_with_the_streaming_response(client: OpenAI) -> None:
    create = client.chat.completions.with_streaming_response.create
    with create(model=MODEL, messages=QUESTION, stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_the_asynchronous_client_does_the_same(url: str) -> None:
    async def ask() -> tuple[str | None, str, list[str]]:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            completion = await client.chat.completions.create(model=MODEL, messages=QUESTION)
            stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            models = [model.id async for model in client.models.list()]
            return completion.choices[0].message.content, "".join(pieces), models

    assert asyncio.run(ask()) == (TEXT, TEXT, [MODEL, f"{MODEL}@base"])


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    models = client.models.list().data
    assert [model.id for model in models] == [MODEL, f"{MODEL}@base"]
    assert {model.object for model in models} == {"model"}
    model = client.models.retrieve(f"{MODEL}@base")
    assert (model.id, model.owned_by) == (f"{MODEL}@base", "errata")
    assert (model.model_extra or {})["role"] == "live"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-5")
    assert caught.value.code == "model_not_found"


def test_a_stored_answer_is_deleted(client: OpenAI, served: Served) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=QUESTION)
    deleted = client.chat.completions.delete(completion.id)
    assert (deleted.id, deleted.deleted) == (completion.id, True)
    assert served.store.responses.get(completion.id).is_erased


def ask(client: OpenAI, **changes: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": QUESTION, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "param", "message"),
    [
        ({"temperature": 3}, openai.BadRequestError, "temperature", "less than or equal to 2"),
        ({"messages": []}, openai.BadRequestError, "messages", "at least 1"),
        ({"model": "gpt-5"}, openai.NotFoundError, None, "does not exist"),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            openai.BadRequestError,
            "tools",
            "leave it out",
        ),
        ({"extra_body": {"verbosity": "low"}}, openai.BadRequestError, "verbosity", "not supported here"),
        ({"max_tokens": 10**6}, openai.BadRequestError, None, "never fit"),
    ],
)
def test_what_is_refused_is_openais_exception_with_the_reason(
    client: OpenAI, changes: dict[str, Any], error: type[openai.APIStatusError], param: str, message: str
) -> None:
    for stream in (False, True):
        with pytest.raises(error, match=message) as caught:
            ask(client, stream=stream, **changes)
        assert caught.value.param == param
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["type"] in ("invalid_request_error", "not_found_error")


def test_a_correction_is_refused_as_openais_exceptions(client: OpenAI, served: Served) -> None:
    served.store.responses.add(response("r1"))

    def correct(response_id: str, **more: Any) -> object:
        options: Any = {"headers": {"Idempotency-Key": "k"}}
        return client.post(
            "/feedback", cast_to=object, body={"response_id": response_id, **more}, options=options
        )

    correct("r1", spans=[])
    with pytest.raises(openai.ConflictError):
        correct("r1", spans=[{"start": 0, "end": 1, "replacement": "The"}])
    with pytest.raises(openai.UnprocessableEntityError):
        correct("r1", corrected_text=" ")
    with pytest.raises(openai.NotFoundError):
        correct("r9", spans=[])
    served.store.erasures.response("r1")
    with pytest.raises(openai.APIStatusError) as caught:
        correct("r1", spans=[])
    assert caught.value.status_code == 410


def test_keys_are_refused_as_openais_exceptions(tmp_path: Path) -> None:
    with serving(tmp_path) as served, listening(served) as url:
        secret = served.store.keys.create("ada", ["feedback"])[1]
        for api_key, error in (
            ("sk-wrong", openai.AuthenticationError),
            (secret, openai.PermissionDeniedError),
        ):
            client = OpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0)
            with client, pytest.raises(error):
                client.models.list()


def test_a_full_server_is_asked_again_as_the_client_does_it(tmp_path: Path) -> None:
    engine = FakeEngine(max_waiting=1)
    with serving(tmp_path, engine) as served, listening(served) as url:
        engine.hold()
        with OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            waiting = ask(client, stream=True)
            with pytest.raises(openai.RateLimitError) as caught:
                ask(client.with_options(max_retries=0))
            assert caught.value.response.headers["retry-after"] == "1"
            engine.go_on()
            assert ask(client.with_options(max_retries=5)).choices[0].finish_reason == "stop"
            assert list(waiting)[-1].choices[0].finish_reason == "stop"


def test_an_engine_that_fails_is_an_error_of_the_server_in_an_answer_and_in_a_stream(tmp_path: Path) -> None:
    engine = FakeEngine(error_after=2)
    with (
        serving(tmp_path, engine) as served,
        listening(served) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError, match="the fake engine broke"):
            ask(client)
        with pytest.raises(openai.APIError, match="the fake engine broke"):
            list(ask(client, stream=True))
