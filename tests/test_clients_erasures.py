"""The client has the server forget: the same sentences hold for plain and for async code."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from errata import Erasure, ResponseErased
from fake_errata import RESPONSE_ID, FakeErrata, Session


@pytest.fixture
def server() -> FakeErrata:
    return FakeErrata()


@pytest.fixture(params=["sync", "async"])
def session(request: pytest.FixtureRequest, server: FakeErrata) -> Iterator[Session]:
    session = Session(request.param, server, max_retries=0)
    yield session
    session.close()


@pytest.mark.parametrize(
    ("what", "name", "path"),
    [
        ("responses", RESPONSE_ID, f"/v1/responses/{RESPONSE_ID}"),
        ("feedback", "corr-1", "/v1/feedback/corr-1"),
        ("sources", "key-1", "/v1/sources/key-1"),
        ("sources", "a key", "/v1/sources/a%20key"),
    ],
)
def test_what_is_erased_and_what_follows_comes_back(
    session: Session, server: FakeErrata, what: str, name: str, path: str
) -> None:
    erasure = session.do(getattr(session.client, what).delete(name))
    assert isinstance(erasure, Erasure)
    assert (server.requests[-1].method, server.requests[-1].url.raw_path) == ("DELETE", path.encode())
    assert erasure.responses == ([] if what == "feedback" else [RESPONSE_ID])
    assert (erasure.corrections, erasure.tainted, erasure.alignment) == (["corr-1"], ["v0001"], "run-1")


def test_an_empty_id_erases_nothing(session: Session, server: FakeErrata) -> None:
    for what in ("responses", "feedback", "sources"):
        with pytest.raises(ValueError, match="is empty"):
            session.do(getattr(session.client, what).delete(""))
    assert server.requests == []


def test_a_deletion_is_repeated_where_the_answer_was_lost(session: Session, server: FakeErrata) -> None:
    server.failures = [503]
    session.do(session.client.with_options(max_retries=1).sources.delete("key-1"))
    assert [request.method for request in server.requests] == ["DELETE", "DELETE"]


def test_what_the_server_refuses_to_erase_comes_as_openais_exception(
    session: Session, server: FakeErrata
) -> None:
    server.failures = [403]
    with pytest.raises(openai.PermissionDeniedError, match="refused with 403"):
        session.do(session.client.responses.delete(RESPONSE_ID))


def test_an_answer_that_was_deleted_is_an_exception_of_its_own(session: Session, server: FakeErrata) -> None:
    server.failures = [410]
    with pytest.raises(ResponseErased, match="refused with 410") as caught:
        session.do(session.client.responses.get(RESPONSE_ID))
    assert isinstance(caught.value, openai.APIStatusError)
    assert caught.value.status_code == 410
