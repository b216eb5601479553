"""The client asks and streams: the same sentences hold for plain and for async code."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import openai
import pytest
from errata import ReplyIncomplete
from fake_errata import RESPONSE_ID, SERVED, FakeErrata, Session, words
from PIL import Image


@pytest.fixture
def server() -> FakeErrata:
    return FakeErrata()


@pytest.fixture(params=["sync", "async"])
def session(request: pytest.FixtureRequest, server: FakeErrata) -> Iterator[Session]:
    session = Session(request.param, server, max_retries=0)
    yield session
    session.close()


def test_a_reply_carries_its_text_its_id_and_the_adapter_that_gave_it(session: Session) -> None:
    reply = session.do(session.client.ask("What is on the table?"))
    assert (reply.text, reply.response_id, reply.adapter) == (SERVED, RESPONSE_ID, "v0001")
    assert str(reply) == SERVED
    assert reply.finish_reason == "stop"


def test_the_images_stand_before_the_words_and_options_are_passed_on(
    session: Session, server: FakeErrata
) -> None:
    png = encoded("PNG")
    session.do(
        session.client.ask(
            "Same?", image=[png, "https://example.com/a.png"], system="Be brief.", temperature=0, max_tokens=7
        )
    )
    body = json.loads(server.requests[-1].content)
    system, user = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in user["content"]] == ["image_url", "image_url", "text"]
    assert user["content"][1]["image_url"]["url"] == "https://example.com/a.png"
    assert (body["temperature"], body["max_tokens"]) == (0, 7)
    assert "top_p" not in body


def test_what_was_said_before_stands_before_the_question(session: Session, server: FakeErrata) -> None:
    said = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello!"}]
    session.do(session.client.ask("What?", history=said, system="Be brief."))
    session.texts(session.client.stream("And now?", history=said))
    first, second = (json.loads(request.content)["messages"] for request in server.requests[-2:])
    assert [message["role"] for message in first] == ["system", "user", "assistant", "user"]
    assert first[1:3] == second[:2] == said
    assert second[2]["content"] == [{"type": "text", "text": "And now?"}]


def test_a_reply_brings_a_token_for_a_browser_where_it_is_asked_for(
    session: Session, server: FakeErrata
) -> None:
    reply = session.do(session.client.ask("What?", user="ada", feedback_token=True))
    assert reply.feedback_token == "token of ada"
    stream = session.client.stream("What?", user="grace", feedback_token=True)
    session.texts(stream)
    assert stream.reply.feedback_token == "token of grace"
    assert session.do(session.client.ask("What?")).feedback_token is None
    assert "feedback_token" not in json.loads(server.requests[-1].content)


def test_the_model_is_the_servers_first_asked_for_once_unless_it_is_named(
    session: Session, server: FakeErrata
) -> None:
    for _ in range(2):
        session.do(session.client.ask("What?"))
    session.do(session.client.ask("What?", model="errata-tiny@base"))
    paths = [request.url.path for request in server.requests]
    assert paths == ["/v1/models", *["/v1/chat/completions"] * 3]
    models = [json.loads(request.content)["model"] for request in server.requests[1:]]
    assert models == ["errata-tiny", "errata-tiny", "errata-tiny@base"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10**6])
def test_a_stream_split_at_any_byte_yields_the_text_and_ends_with_the_reply(
    session: Session, server: FakeErrata, size: int
) -> None:
    server.piece_size = size
    stream = session.client.stream("What is on the table?")
    assert session.texts(stream) == words(SERVED)
    assert (stream.reply.text, stream.reply.response_id, stream.reply.adapter) == (
        SERVED,
        RESPONSE_ID,
        "v0001",
    )
    correction = session.do(stream.reply.correct_span("on the table", "on the chair", kind="position"))
    assert correction.corrected_text == SERVED.replace("table", "chair")


def test_a_stream_left_early_hangs_up_and_has_no_reply(session: Session, server: FakeErrata) -> None:
    stream = session.client.stream("What?")
    assert session.texts(stream, limit=1) == words(SERVED)[:1]
    assert server.body is not None
    assert server.body.is_closed
    with pytest.raises(ReplyIncomplete, match="read to its end"):
        _ = stream.reply


def test_a_stream_that_breaks_off_is_an_error_not_a_short_answer(
    session: Session, server: FakeErrata
) -> None:
    server.is_cut_off = True
    with pytest.raises(ReplyIncomplete, match="broke off"):
        session.texts(session.client.stream("What?"))


def test_a_full_server_is_openais_rate_limit_error(session: Session, server: FakeErrata) -> None:
    server.failures = [429]
    with pytest.raises(openai.RateLimitError, match="refused with 429"):
        session.do(session.client.ask("What?", model="errata-tiny"))


def test_openais_own_calls_work_as_they_do_with_openais_client(session: Session) -> None:
    completion = session.do(
        session.client.chat.completions.create(
            model="errata-tiny", messages=[{"role": "user", "content": "What?"}]
        )
    )
    assert completion.choices[0].message.content == SERVED


def test_options_can_be_changed_for_one_call(session: Session, server: FakeErrata) -> None:
    server.failures = [503]
    patient = session.client.with_options(max_retries=1, default_headers={"x-test": "1"})
    assert type(patient) is type(session.client)
    assert session.do(patient.adapters.list()).rollout.live == "v0001"
    assert [request.headers["x-test"] for request in server.requests] == ["1", "1"]


def test_the_address_and_the_key_come_from_erratas_environment_and_openais_keys_stay_home(
    monkeypatch: pytest.MonkeyPatch, server: FakeErrata
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    for kind in ("sync", "async"):
        session = Session(kind, server)
        assert str(session.client.base_url) == "http://127.0.0.1:8000/v1/"
        session.do(session.client.adapters.rollback())
        session.do(session.client.with_options(timeout=3).adapters.list())
        session.close()
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer none"}

    monkeypatch.setenv("ERRATA_BASE_URL", "https://errata.example/v1")
    monkeypatch.setenv("ERRATA_API_KEY", "errata-key")
    session = Session("sync", server)
    session.client.adapters.list()
    session.close()
    assert server.requests[-1].url.host == "errata.example"
    assert server.requests[-1].headers["authorization"] == "Bearer errata-key"


def encoded(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(buffer, format=format)
    return buffer.getvalue()
