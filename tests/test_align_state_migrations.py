"""A database of any older schema opens as today's, with what was in it."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from align.state import Store
from align.state.database import open_engine
from align.state.migrations import MIGRATIONS

pytestmark = pytest.mark.every_database


def older(url: str, version: int, *statements: tuple[str, dict[str, object]]) -> Store:
    """Today's store on a database that was written with schema `version`."""
    engine = open_engine(url)
    with engine.begin() as connection:
        for migration in MIGRATIONS[:version]:
            migration(connection)
        connection.execute(text("CREATE TABLE schema_version (version INTEGER NOT NULL)"))
        connection.execute(text("INSERT INTO schema_version VALUES (:v)"), {"v": version})
        for statement, values in statements:
            connection.execute(text(statement), values)
    engine.dispose()
    return Store(url)


def response_row(name: str, *digests: str) -> tuple[str, dict[str, object]]:
    parts = [{"type": "text", "text": "What?"}, *({"type": "image", "sha256": digest} for digest in digests)]
    conversation = json.dumps([{"role": "user", "content": parts}])
    return (
        "INSERT INTO responses VALUES (:id, 1.0, 'kept', 'm', 'base', :c, '{}', 'text', '[1]', 'stop', 3, '{}', 'k')",
        {"id": name, "c": conversation},
    )


def correction_row(name: str, sequence: int, status: str) -> tuple[str, dict[str, object]]:
    return (
        "INSERT INTO corrections VALUES (:id, :n, 1.0, :status, 'r1', 'fixed', '[]', 'ada', 'k', NULL, 'f00d')",
        {"id": name, "n": sequence, "status": status},
    )


def test_the_first_schema_learns_which_response_shows_which_image(database_url: str) -> None:
    store = older(database_url, 1, response_row("r1", "a" * 64, "b" * 64, "a" * 64), response_row("r2"))
    with store.database.read() as connection:
        links = connection.execute(text("SELECT * FROM response_images ORDER BY sha256")).all()
    assert [tuple(link) for link in links] == [("r1", "a" * 64), ("r1", "b" * 64)]
    store.close()


def test_what_was_withdrawn_in_the_first_schema_is_erased_with_its_words(database_url: str) -> None:
    rows = (response_row("r1"), correction_row("c1", 1, "withdrawn"), correction_row("c2", 2, "accepted"))
    store = older(database_url, 1, *rows)
    erased, kept = store.corrections.get("c1"), store.corrections.get("c2")
    assert (erased.status, erased.corrected_text, erased.author, erased.body_sha256) == (
        "erased",
        "",
        None,
        "",
    )
    assert (kept.status, kept.corrected_text, kept.author) == ("accepted", "fixed", "ada")
    store.close()


def test_earlier_corrections_are_their_key_s_and_those_of_a_server_without_keys_are_reviewed(
    database_url: str,
) -> None:
    own = ("UPDATE corrections SET key_id = 'anonymous' WHERE id = 'c1'", {})
    rows = (response_row("r1"), correction_row("c1", 1, "accepted"), correction_row("c2", 2, "accepted"))
    store = older(database_url, 2, *rows, own)
    first, second = store.corrections.get("c1"), store.corrections.get("c2")
    assert (first.source, first.reviewed, first.questioned) == ("anonymous", 1.0, [])
    assert (second.source, second.reviewed, second.effective_sequence) == ("k", None, 2)
    assert store.corrections.last_sequence() == 2
    store.close()


def test_images_that_a_deletion_had_left_are_removed_by_the_next_one(database_url: str) -> None:
    rows = (response_row("r1"), response_row("r2"))
    links = [
        ("INSERT INTO response_images VALUES (:r, :s)", {"r": name, "s": digest})
        for name, digest in (("r1", "a" * 64), ("r1", "b" * 64), ("r2", "b" * 64))
    ]
    erased = ("UPDATE responses SET status = 'erased' WHERE id = 'r1'", {})
    store = older(database_url, 3, *rows, *links, erased)
    removed: list[str] = []
    assert store.erasures.remove_images(removed.append) == 1
    assert removed == ["a" * 64]
    store.close()


def test_earlier_runs_know_what_they_have_seen(database_url: str) -> None:
    run = (
        "INSERT INTO runs (id, created, status, trigger, attempts, manifest) "
        "VALUES (:id, :at, 'failed', 'count', 1, :m)"
    )
    rows = [
        (run, {"id": "run-1", "at": 1.0, "m": json.dumps({"train": ["c1"], "last_sequence": 7})}),
        (run, {"id": "run-2", "at": 2.0, "m": "null"}),
        (run, {"id": "run-3", "at": 3.0, "m": None}),
    ]
    store = older(database_url, 11, *rows)
    assert store.runs.learned_up_to() == 7
    assert [store.runs.get(f"run-{number}").last_sequence for number in (1, 2, 3)] == [7, None, None]
    store.close()


def test_what_outlived_its_erasure_in_phrases_and_reports_is_gone(database_url: str) -> None:
    phrase = ("INSERT INTO insertions VALUES (:c, :p, 1, 'k', 'k/ada', 'group', 0)", {})
    phrases = [(phrase[0], {"c": name, "p": f"words of {name}"}) for name in ("c1", "c2")]
    quote = "the answer's tokens spell 'a secret', but its text is 'a secre'"
    report = {"training": {"num_pairs": 1, "skipped": [{"id": "c1", "reason": quote}]}}
    run = (
        "INSERT INTO runs (id, created, status, trigger, attempts, progress, report, reason) "
        "VALUES ('run-1', 1.0, 'failed', 'count', 1, :progress, :report, :reason)",
        {
            "progress": json.dumps(report["training"]),
            "report": json.dumps(report),
            "reason": f"none of 1 examples makes a training pair: {quote}",
        },
    )
    other = (
        "INSERT INTO runs (id, created, status, trigger, attempts, reason) "
        "VALUES ('run-2', 1.0, 'failed', 'count', 1, 'no space left')",
        {},
    )
    corrections = (correction_row("c1", 1, "accepted"), correction_row("c2", 2, "accepted"))
    older(database_url, 2, response_row("r1"), *corrections).close()
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 15"))
        connection.execute(text("UPDATE corrections SET status = 'erased' WHERE id = 'c1'"))
        for statement, values in (*phrases, run, other):
            connection.execute(text(statement), values)
    engine.dispose()
    store = Store(database_url)
    assert [store.insertions.of(name) for name in ("c1", "c2")] == [frozenset(), frozenset({"words of c2"})]
    ended = store.runs.get("run-1")
    assert ended.report == {
        "training": {
            "num_pairs": 1,
            "skipped": [{"id": "c1", "reason": "the answer's tokens spell another text"}],
        }
    }
    assert ended.progress == ended.report["training"]
    assert ended.reason == "none of 1 examples makes a training pair: the answer's tokens spell another text"
    assert (store.runs.get("run-2").report, store.runs.get("run-2").reason) == (None, "no space left")
    store.close()
