"""A store as it is after years: rows made by the database itself, in an older schema, so that a migration is timed.

The words are the same in each row, but no two ids, images or times are; ids are scattered as real ones are.
"""

from __future__ import annotations

import hashlib
import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from align.state import Store
from align.state.database import open_engine
from align.state.migrations import migrate

OLDEST = 2
"""The schema that is filled. Migrating the first one reads all conversations at once, and needs the memory for them."""
CHUNK = 100_000
ANSWERS_PER_CORRECTION = 10
CORRECTIONS_PER_WAITING = 1000
NUM_VERSIONS, NUM_KEYS, NUM_RUNS, NUM_DAYS = 20, 100, 5, 100

NUM_TOKENS = 48
TEXT = "There is a red cup on the table, and a plate. " * 4
SAMPLING = '{"max_tokens": 64, "temperature": 1.0, "top_p": 1.0, "seed": null, "stop": []}'
TIMINGS = '{"first_token_s": 0.1, "total_s": 1.0}'
SPANS = '[{"start": 11, "end": 14, "replacement": "blue", "kind": "attribute"}]'


@dataclass(frozen=True)
class Filled:
    """How many answers there are, the oldest first, and when the first and the last were given."""

    num_answers: int
    first: float
    last: float

    @property
    def num_corrections(self) -> int:
        return self.num_answers // ANSWERS_PER_CORRECTION

    def some_answer(self, rng: random.Random) -> str:
        return answer_id(rng.randint(1, self.num_answers))


def answer_id(number: int) -> str:
    return f"chatcmpl-{_md5(number)}"


def correction_id(number: int) -> str:
    return f"corr-{_md5(number)}"


def fill(url: str, num_answers: int, now: float) -> Filled:
    """Into a blank database, in the schema `OLDEST`, by two connections where the database lets them."""
    filled = Filled(num_answers, now - NUM_DAYS * 86_400, now)
    engine = open_engine(url)
    is_postgresql = engine.dialect.name == "postgresql"
    if not is_postgresql:
        event.listen(engine, "connect", lambda connection, _: connection.create_function("md5", 1, _md5))
    try:
        with engine.begin() as connection:
            migrate(connection, OLDEST)
            definitions = _drop_indexes(connection) if is_postgresql else []
        statements = [text(one) for one in _statements(filled, is_postgresql)]

        def fill_chunk(first: int) -> None:
            last = min(first + CHUNK - 1, num_answers)
            with engine.begin() as connection:
                if (
                    is_postgresql
                ):  # what they refer to is there: to look each of them up takes most of the time
                    connection.execute(text("SET LOCAL session_replication_role = replica"))
                for statement in statements:
                    connection.execute(statement, {"first": first, "last": last})

        with ThreadPoolExecutor(2 if is_postgresql else 1) as pool:
            list(pool.map(fill_chunk, range(1, num_answers + 1, CHUNK)))
        _each(engine, definitions)
    finally:
        engine.dispose()
    return filled


def add_history(store: Store, filled: Filled) -> None:
    """Runs that have ended, each of which saw more corrections than the one before, the last one all."""
    for number in range(1, NUM_RUNS + 1):
        seen = filled.num_corrections * number // NUM_RUNS
        ids = [correction_id(one) for one in range(1, seen + 1)]
        cut = seen * 9 // 10
        manifest: dict[str, Any] = {
            "train": ids[:cut],
            "held_out": ids[cut:],
            "general": [],
            "last_sequence": seen,
        }
        store.runs.request("count")
        run = store.runs.claim()
        assert run is not None
        store.runs.update(run, manifest=manifest, status="refused", reason="a benchmark's")


def _statements(filled: Filled, is_postgresql: bool) -> list[str]:
    def as_json(expression: str) -> str:
        return f"CAST({expression} AS JSON)" if is_postgresql else expression

    series = (
        "WITH RECURSIVE series (i) AS (SELECT CAST(:first AS INTEGER) UNION ALL "
        "SELECT i + 1 FROM series WHERE i < :last)"
    )
    sha256 = "md5(CAST(i / 4 AS TEXT)) || md5(CAST(i / 4 AS TEXT))"
    step = (filled.last - filled.first) / filled.num_answers
    created = f"{filled.first} + i * CAST({step} AS FLOAT)"
    version = f"i * CAST({NUM_VERSIONS} AS BIGINT) / ({filled.num_answers} + 1)"
    adapter = f"CASE WHEN {version} = 0 THEN 'base' ELSE 'v' || CAST(10000 + {version} AS TEXT) END"
    before, after = _conversation()
    conversation = as_json(f"'{before}' || {sha256} || '{after}'")
    token_ids = as_json(f"'{json.dumps(list(range(1000, 1000 + NUM_TOKENS)))}'")
    corrected = f"i % {ANSWERS_PER_CORRECTION} = 0"
    number = f"i / {ANSWERS_PER_CORRECTION}"
    is_waiting = f"({number}) % {CORRECTIONS_PER_WAITING} = 0"
    return [
        f"{series} INSERT INTO responses SELECT 'chatcmpl-' || md5(CAST(i AS TEXT)), {created}, 'kept', 'm', "
        f"{adapter}, {conversation}, {as_json(_quoted(SAMPLING))}, '{TEXT}', {token_ids}, 'stop', 600, "
        f"{as_json(_quoted(TIMINGS))}, 'key-' || CAST(i % {NUM_KEYS} AS TEXT) FROM series",
        f"{series} INSERT INTO response_images SELECT 'chatcmpl-' || md5(CAST(i AS TEXT)), {sha256} FROM series",
        f"{series} INSERT INTO corrections SELECT 'corr-' || md5(CAST({number} AS TEXT)), {number}, {created} + 60, "
        f"CASE WHEN {is_waiting} THEN 'quarantined' ELSE 'accepted' END, 'chatcmpl-' || md5(CAST(i AS TEXT)), "
        f"'{TEXT}', {as_json(_quoted(SPANS))}, NULL, 'key-' || CAST(i % {NUM_KEYS} AS TEXT), CAST({number} AS TEXT), "
        f"'{'0' * 64}' FROM series WHERE {corrected}",
    ]


def _conversation() -> tuple[str, str]:
    """What stands before and after the image's digest."""
    parts = [{"type": "image", "sha256": "DIGEST"}, {"type": "text", "text": "What is there?"}]
    before, _, after = json.dumps([{"role": "user", "content": parts}]).partition("DIGEST")
    # SQLAlchemy takes a colon and a word for a parameter
    return before.replace(":", "\\:"), after.replace(":", "\\:")


def _quoted(words: str) -> str:
    return "'" + words.replace(":", "\\:") + "'"


def _md5(number: object) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def _drop_indexes(connection: Connection) -> list[str]:
    """Those that no constraint needs: made at the end they take a fraction of the time."""
    query = text(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname LIKE '%\\_by\\_%'"
    )
    found = connection.execute(query).all()
    for name, _ in found:
        connection.execute(text(f"DROP INDEX {name}"))
    return [definition for _, definition in found]


def _each(engine: Engine, statements: list[str]) -> None:
    def execute(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(execute, statements))
