"""What PostgreSQL alone promises: writers beside each other, one moment for a reader, texts that it cannot keep."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from postgresql_server import PostgreSQLServer, postgresql_server
from records import correction, response
from served import wait_until
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from align.errors import StateError
from align.state import Store
from align.state.claims import Holder
from align.state.nul import from_json, to_json
from align.state.wanted_responses import WantedResponses
from serve.doctor import files, network
from serve.settings import Settings


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> str:
    return postgresql.new_database()


@pytest.fixture
def pair(url: str):  # type: ignore[no-untyped-def]  # of two stores, as two processes have them
    with closing(Store(url)) as one, closing(Store(url)) as other:
        yield one, other


def test_answers_of_two_processes_are_written_at_the_same_time(pair: tuple[Store, Store]) -> None:
    one, other = pair
    with one.database.write_beside() as connection:
        connection.execute(text("SELECT 1"))
        other.responses.add(response("r1"))  # would wait for ever behind SQLite's one writer
        assert other.responses.get("r1").id == "r1"


def test_who_writes_alone_waits_for_those_beside_each_other_and_they_for_it(
    pair: tuple[Store, Store],
) -> None:
    one, other = pair
    with ThreadPoolExecutor(2) as pool:
        with one.database.write_beside():
            key = pool.submit(other.keys.create, "ada", ["chat"])
            with pytest.raises(TimeoutError):
                key.result(0.3)
        key.result(20)
        with one.database.write():
            answer = pool.submit(other.responses.add, response("r1"))
            with pytest.raises(TimeoutError):
                answer.result(0.3)
        answer.result(20)


def test_a_reader_sees_one_moment_and_cannot_write(pair: tuple[Store, Store]) -> None:
    one, other = pair
    with one.database.read() as connection:
        count = text("SELECT count(*) FROM responses")
        assert connection.execute(count).scalar_one() == 0
        other.responses.add(response("r1"))
        assert connection.execute(count).scalar_one() == 0
        with pytest.raises(DBAPIError, match="read-only transaction"):
            connection.execute(text("DELETE FROM responses"))


def test_an_answer_that_another_one_is_about_to_hold_is_passed_over_without_waiting(
    pair: tuple[Store, Store],
) -> None:
    one, other = pair
    for number in (1, 2):
        one.responses.add(response(f"r{number}", created=float(number)))
    with one.database.write_beside() as connection:
        connection.execute(text("SELECT * FROM responses WHERE id = 'r2' FOR NO KEY UPDATE"))
        found = other.claims.take_next(Holder("k", "ada"), WantedResponses(), now=1.0, until=2.0)
        assert found is not None
        assert found[1].id == "r1"
        other.corrections.add(
            correction("c1", response_id="r2")
        )  # looking at it keeps nobody from correcting it


def test_a_run_that_another_aligner_is_about_to_claim_is_not_waited_for(pair: tuple[Store, Store]) -> None:
    one, other = pair
    run = one.runs.request("request")
    with one.database.write_beside() as connection:
        connection.execute(text("SELECT * FROM runs FOR UPDATE"))
        assert other.runs.claim() is None
    claimed = other.runs.claim()
    assert claimed is not None
    assert (claimed.id, claimed.status) == (run.id, "running")
    assert one.runs.claim() is None


def test_the_server_asks_after_10_seconds_whether_a_silent_session_is_still_there(url: str) -> None:
    """Else the locks of one whose machine was cut off would hold up all others for two minutes."""
    asked = ("idle", "interval", "count")
    with closing(Store(url)) as store, store.database.read() as connection:
        told = [connection.execute(text(f"SHOW tcp_keepalives_{what}")).scalar_one() for what in asked]
    assert told == ["10", "5", "2"]


def test_a_session_that_ends_gives_its_locks_back(
    pair: tuple[Store, Store], postgresql: PostgreSQLServer
) -> None:
    one, other = pair
    holds, go_on = threading.Event(), threading.Event()

    def die() -> None:
        with one.database.write() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            holds.set()
            assert go_on.wait(20)
            postgresql.execute(f"SELECT pg_terminate_backend({pid})")
            connection.execute(text("SELECT 1"))

    with ThreadPoolExecutor(1) as pool:
        dying = pool.submit(die)
        assert holds.wait(20)
        go_on.set()
        other.responses.add(response("r1"))
        with pytest.raises(DBAPIError):
            dying.result(20)
    one.responses.add(response("r2"))  # by a new connection


@pytest.mark.parametrize("words", ["a\0b", "\0", "\x1a", "\x1a0", "\0\x1a1\0", "\\u0000", "\\\0"])
def test_texts_that_it_cannot_keep_come_back_as_they_were(url: str, words: str) -> None:
    conversation = [{"role": "user", "content": [{"type": "text", "text": words}]}]
    span = {"start": 0, "end": 1, "replacement": words, "kind": "object"}
    with closing(Store(url)) as store:
        store.responses.add(
            response("r1", text=words, conversation=conversation, created=90_000.0, user=words)
        )
        store.corrections.add(correction("c1", corrected_text=words, spans=[span], created=90_000.0))
        assert store.responses.get("r1").text == words
        assert store.responses.get("r1").conversation == conversation
        assert store.corrections.get("c1").spans == [span]
        assert len(store.responses.matching(WantedResponses(user=words), 10)) == 1
        assert store.statistics.kinds(1, 1)["object"] == 1  # counted by the server, which reads the document
    assert from_json(to_json(words)) == words


@pytest.mark.parametrize(
    ("tail", "message"),
    [("nowhere", 'database "nowhere" does not exist'), ("template0", "not currently accepting connections")],
)
def test_a_database_that_cannot_be_used_is_refused_without_its_password(
    postgresql: PostgreSQLServer, tail: str, message: str
) -> None:
    with pytest.raises(StateError, match=message) as raised:
        Store(f"postgres://errata:pa55word@127.0.0.1:{postgresql.port}/{tail}")
    assert "pa55word" not in str(raised.value)


def test_a_database_with_another_encoding_is_refused(postgresql: PostgreSQLServer) -> None:
    postgresql.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(StateError, match="keeps texts as LATIN1; create a database WITH ENCODING 'UTF8'"):
        Store(f"postgresql://errata@127.0.0.1:{postgresql.port}/latin")


def test_the_doctor_looks_at_it_and_changes_nothing(url: str) -> None:
    settings = Settings(database=url, host="0.0.0.0")
    assert "empty; the first start makes its tables" in files.database(settings).found
    assert network.keys(settings).standing == "problem"
    with closing(Store(url)) as store:
        store.keys.create("ada", ["chat"])
    assert files.database(settings).standing == "good"
    assert "schema" in files.database(settings).found
    assert network.keys(settings).found == "1 in use"
    gone = files.database(Settings(database="postgresql://errata@127.0.0.1:1/errata"))
    assert (gone.standing, gone.advice) == ("problem", "start it, or correct `database`")


def test_what_was_answered_outlives_a_server_that_is_killed() -> None:
    with postgresql_server(is_durable=True) as server:
        url = server.new_database()
        with closing(Store(url)) as store, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: store.responses.add(response(f"r{number}")), range(40)))
            server.crash()
            wait_until(server.answers)
            assert len(store.responses.matching(WantedResponses(), 100)) == 40
