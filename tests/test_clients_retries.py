"""The client tries again where that is right, when the server says: the same holds for plain and for async code."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import httpx2
import openai
import pytest
from fake_errata import RESPONSE_ID, FakeErrata, Session

REQUEST = httpx2.Request("POST", "http://127.0.0.1:8000/v1/feedback")


@pytest.fixture
def server() -> FakeErrata:
    return FakeErrata()


@pytest.fixture(params=["sync", "async"])
def session(request: pytest.FixtureRequest, server: FakeErrata) -> Iterator[Session]:
    session = Session(request.param, server)
    yield session
    session.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which the client would have slept."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr(anyio, "sleep", sleep)
    return slept


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_the_server_says(
    session: Session, server: FakeErrata, pauses: list[float], status: int
) -> None:
    server.failures, server.retry_after = [status, status], "7"
    session.do(session.client.feedback.create(RESPONSE_ID, spans=[]))
    assert pauses == [7.0, 7.0]
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1


def test_it_waits_longer_each_time_where_the_server_says_nothing(
    session: Session, server: FakeErrata, pauses: list[float]
) -> None:
    server.failures = [503] * 4
    session.do(session.client.with_options(max_retries=4).feedback.create(RESPONSE_ID, spans=[]))
    assert [1 if pause <= first else 0 for pause, first in zip(pauses, (0.5, 1, 2, 4), strict=True)] == [
        1
    ] * 4
    assert pauses == sorted(pauses)
    assert pauses[0] > 0


def test_a_wait_that_nobody_would_sit_through_is_left_to_the_caller(
    session: Session, server: FakeErrata, pauses: list[float]
) -> None:
    server.failures, server.retry_after = [429], "3600"
    with pytest.raises(openai.RateLimitError) as caught:
        session.do(session.client.feedback.create(RESPONSE_ID, spans=[]))
    assert caught.value.response.headers["retry-after"] == "3600"
    assert (pauses, len(server.requests)) == ([], 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_what_would_be_refused_again_is_not_sent_again(
    session: Session, server: FakeErrata, pauses: list[float], status: int
) -> None:
    server.failures = [status]
    with pytest.raises(openai.APIStatusError):
        session.do(session.client.feedback.create(RESPONSE_ID, spans=[]))
    assert (pauses, len(server.requests)) == ([], 1)


def test_a_connection_that_broke_is_tried_again_with_the_same_key(
    session: Session, server: FakeErrata, pauses: list[float]
) -> None:
    server.failures = [httpx2.ReadError("reset", request=REQUEST)]
    session.do(session.client.feedback.create(RESPONSE_ID, spans=[]))
    first, again = (request.headers["idempotency-key"] for request in server.requests)
    assert first == again
    assert len(pauses) == 1


@pytest.mark.parametrize("name", ["admit", "promote"])
def test_a_change_that_would_be_refused_the_second_time_is_not_asked_for_again_where_its_answer_is_lost(
    session: Session, server: FakeErrata, pauses: list[float], name: str
) -> None:
    server.failures = [httpx2.ReadError("reset", request=REQUEST)]
    with pytest.raises(openai.APIConnectionError):
        session.do(getattr(session.client.adapters, name)("v0001"))
    assert (pauses, len(server.requests)) == ([], 1)


def test_a_version_is_retired_once_however_often_it_is_asked_for(
    session: Session, server: FakeErrata, pauses: list[float]
) -> None:
    server.failures = [httpx2.ReadError("reset", request=REQUEST)]
    session.do(session.client.adapters.retire("v0001"))
    assert (len(pauses), len(server.requests)) == (1, 2)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx2.ReadTimeout("slow", request=REQUEST), openai.APITimeoutError),
        (httpx2.ConnectError("refused", request=REQUEST), openai.APIConnectionError),
    ],
)
def test_no_answer_at_all_is_one_of_two_exceptions(
    session: Session, server: FakeErrata, failure: Exception, error: type[openai.APIConnectionError]
) -> None:
    server.failures = [failure]
    with pytest.raises(error) as caught:
        session.do(session.client.with_options(max_retries=0).responses.get(RESPONSE_ID))
    assert type(caught.value) is error


def test_how_long_to_wait_for_an_answer_is_said_once_or_for_one_call(
    session: Session, server: FakeErrata
) -> None:
    session.do(session.client.with_options(timeout=3).adapters.list())
    assert set(server.requests[-1].extensions["timeout"].values()) == {3}
    session.do(session.client.adapters.list())
    assert server.requests[-1].extensions["timeout"]["read"] == 600
