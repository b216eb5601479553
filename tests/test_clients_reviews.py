"""The client reviews what is held back: the same sentences hold for plain and for async code."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from json import loads

import openai
import pytest
from fake_errata import SERVED, FakeErrata, Session


@pytest.fixture
def server() -> FakeErrata:
    return FakeErrata()


@pytest.fixture(params=["sync", "async"])
def session(request: pytest.FixtureRequest, server: FakeErrata) -> Iterator[Session]:
    session = Session(request.param, server, max_retries=2)
    yield session
    session.close()


def test_what_waits_is_listed_by_pages(session: Session) -> None:
    (waiting,) = session.do(session.client.reviews.list(limit=1))
    assert (waiting.id, waiting.reason, waiting.questioned) == ("corr-1", "repeated_insertion", ["acme cola"])
    assert waiting.spans[0].replacement == " Acme cola."
    assert session.do(session.client.reviews.list(after=waiting.sequence)) == []


def test_a_correction_is_released_or_rejected(session: Session) -> None:
    assert session.do(session.client.reviews.release("corr-1")).status == "accepted"
    assert session.do(session.client.reviews.reject("corr-1")).status == "rejected"


def test_a_review_is_not_repeated_on_its_own(session: Session, server: FakeErrata) -> None:
    server.failures = [503]
    with pytest.raises(openai.InternalServerError):
        session.do(session.client.reviews.release("corr-1"))
    assert len(server.requests) == 1


def test_an_empty_id_reviews_nothing(session: Session) -> None:
    with pytest.raises(ValueError, match="correction_id is empty"):
        session.do(session.client.reviews.reject(""))


def test_a_reply_is_corrected_as_it_was_served(session: Session, server: FakeErrata) -> None:
    reply = session.do(session.client.ask("What is there?", model="errata-tiny"))
    session.do(reply.correct_span("a fork", "a knife"))
    assert loads(server.requests[-1].content)["served_sha256"] == sha256(SERVED.encode()).hexdigest()
