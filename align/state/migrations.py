"""From any older schema to today's: numbered functions, each run once, in order, in one transaction.

A migration that has been released is never edited; a change to `schema` is a new function at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import JSON, Connection, String, bindparam, column, inspect, text

from ..errors import StateError


def first_tables(connection: Connection) -> None:
    for statement in FIRST_TABLES.split(";"):
        if statement.strip():
            connection.execute(text(statement))


FIRST_TABLES = """
CREATE TABLE responses (
    id VARCHAR PRIMARY KEY, created FLOAT NOT NULL, status VARCHAR NOT NULL, model VARCHAR NOT NULL,
    adapter VARCHAR NOT NULL, conversation JSON NOT NULL, sampling JSON NOT NULL, text VARCHAR NOT NULL,
    token_ids JSON NOT NULL, finish_reason VARCHAR NOT NULL, num_prompt_tokens INTEGER NOT NULL,
    timings JSON NOT NULL, key_id VARCHAR NOT NULL);
CREATE INDEX responses_by_created ON responses (created);
CREATE TABLE corrections (
    id VARCHAR PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, created FLOAT NOT NULL, status VARCHAR NOT NULL,
    response_id VARCHAR NOT NULL REFERENCES responses (id), corrected_text VARCHAR NOT NULL,
    spans JSON NOT NULL, author VARCHAR, key_id VARCHAR NOT NULL, idempotency_key VARCHAR,
    body_sha256 VARCHAR NOT NULL, UNIQUE (key_id, idempotency_key));
CREATE INDEX corrections_by_response ON corrections (response_id);
CREATE TABLE runs (
    id VARCHAR PRIMARY KEY, created FLOAT NOT NULL, status VARCHAR NOT NULL, trigger VARCHAR NOT NULL,
    heartbeat FLOAT, ended FLOAT, manifest JSON, progress JSON, report JSON, reason VARCHAR, adapter VARCHAR);
CREATE TABLE adapters (
    version VARCHAR PRIMARY KEY, created FLOAT NOT NULL, status VARCHAR NOT NULL, digest VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL, blob VARCHAR NOT NULL, report JSON NOT NULL);
CREATE TABLE rollouts (
    generation INTEGER PRIMARY KEY, created FLOAT NOT NULL, status VARCHAR NOT NULL, live VARCHAR NOT NULL,
    candidate VARCHAR, share FLOAT NOT NULL, prepare_by FLOAT NOT NULL, effective_at FLOAT, reason VARCHAR);
CREATE TABLE replicas (
    id VARCHAR PRIMARY KEY, heartbeat FLOAT NOT NULL, url VARCHAR NOT NULL, prepared INTEGER NOT NULL,
    failure JSON, adapters JSON NOT NULL);
CREATE TABLE keys (
    id VARCHAR PRIMARY KEY, created FLOAT NOT NULL, name VARCHAR NOT NULL, sha256 VARCHAR NOT NULL UNIQUE,
    scopes JSON NOT NULL, revoked FLOAT)
"""


def lineage_and_erasure(connection: Connection) -> None:
    """Which response shows which image; which adapters learned from what was erased; `withdrawn` is `erased` now."""
    for statement in LINEAGE_AND_ERASURE.split(";"):
        connection.execute(text(statement))
    stored = text("SELECT id, conversation FROM responses").columns(
        column("id"), column("conversation", JSON)
    )
    conversations = connection.execute(stored).all()
    link = text("INSERT INTO response_images VALUES (:response_id, :sha256)")
    for response_id, conversation in conversations:
        parts = [part for message in conversation for part in message["content"]]
        for sha256 in sorted({part["sha256"] for part in parts if part["type"] == "image"}):
            connection.execute(link, {"response_id": response_id, "sha256": sha256})


LINEAGE_AND_ERASURE = """
CREATE TABLE response_images (
    response_id VARCHAR NOT NULL REFERENCES responses (id), sha256 VARCHAR NOT NULL,
    PRIMARY KEY (response_id, sha256));
CREATE INDEX response_images_by_sha256 ON response_images (sha256);
CREATE INDEX responses_by_key ON responses (key_id);
CREATE INDEX responses_by_adapter ON responses (adapter);
ALTER TABLE adapters ADD COLUMN tainted FLOAT;
UPDATE corrections SET status = 'erased', corrected_text = '', spans = '[]', author = NULL, body_sha256 = ''
    WHERE status = 'withdrawn'
"""


def screening_and_review(connection: Connection) -> None:
    """Who sent a correction, why it is held back, who reviewed it; and which phrases it inserts over which images.

    What a server without keys took came from its own machine, and counts as reviewed.
    """
    for statement in SCREENING_AND_REVIEW.split(";"):
        connection.execute(text(statement))


SCREENING_AND_REVIEW = """
ALTER TABLE corrections ADD COLUMN source VARCHAR NOT NULL DEFAULT '';
ALTER TABLE corrections ADD COLUMN reason VARCHAR;
ALTER TABLE corrections ADD COLUMN questioned JSON NOT NULL DEFAULT '[]';
ALTER TABLE corrections ADD COLUMN reviewed FLOAT;
ALTER TABLE corrections ADD COLUMN reviewer VARCHAR;
ALTER TABLE corrections ADD COLUMN effective_sequence INTEGER NOT NULL DEFAULT 0;
UPDATE corrections SET source = key_id, effective_sequence = sequence;
UPDATE corrections SET reviewed = created, reviewer = key_id WHERE key_id = 'anonymous';
CREATE INDEX corrections_by_source ON corrections (source, created);
CREATE INDEX corrections_by_effective_sequence ON corrections (effective_sequence);
CREATE TABLE insertions (
    correction_id VARCHAR NOT NULL REFERENCES corrections (id), phrase VARCHAR NOT NULL,
    sequence INTEGER NOT NULL, key_id VARCHAR NOT NULL, source VARCHAR NOT NULL,
    image_group VARCHAR NOT NULL, is_reviewed INTEGER NOT NULL, PRIMARY KEY (correction_id, phrase));
CREATE INDEX insertions_by_phrase ON insertions (phrase, sequence);
CREATE INDEX insertions_by_source ON insertions (source, phrase);
CREATE INDEX insertions_by_images ON insertions (image_group);
CREATE INDEX insertions_by_sequence ON insertions (sequence)
"""


def run_attempts(connection: Connection) -> None:
    """How often a run was begun, so that one whose every attempt dies is given up."""
    connection.execute(text("ALTER TABLE runs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1"))


def images_to_remove(connection: Connection) -> None:
    """What deletions have left to be removed, so that it is found without a look at all images."""
    for statement in IMAGES_TO_REMOVE.split(";"):
        connection.execute(text(statement))


IMAGES_TO_REMOVE = """
CREATE TABLE images_to_remove (sha256 VARCHAR PRIMARY KEY);
INSERT INTO images_to_remove SELECT DISTINCT sha256 FROM response_images
    WHERE response_id IN (SELECT id FROM responses WHERE status = 'erased');
DELETE FROM response_images WHERE response_id IN (SELECT id FROM responses WHERE status = 'erased')
"""


def users_and_metadata(connection: Connection) -> None:
    """Whom an application asked for, and what it noted with the request."""
    connection.execute(text('ALTER TABLE responses ADD COLUMN "user" VARCHAR'))
    connection.execute(text("ALTER TABLE responses ADD COLUMN metadata JSON NOT NULL DEFAULT '{}'"))


def secrets(connection: Connection) -> None:
    """What all replicas sign with."""
    connection.execute(
        text(
            "CREATE TABLE secrets (name VARCHAR PRIMARY KEY, created FLOAT NOT NULL, value VARCHAR NOT NULL)"
        )
    )


def limits_of_keys(connection: Connection) -> None:
    """How much each key may ask for; null: what the server lets any key."""
    connection.execute(text("ALTER TABLE keys ADD COLUMN requests_per_minute INTEGER"))
    connection.execute(text("ALTER TABLE keys ADD COLUMN max_concurrent INTEGER"))


def outcomes_by_rollout(connection: Connection) -> None:
    """Which rollout chose an answer's version, what failed, and by which terms a new version is judged."""
    for statement in OUTCOMES_BY_ROLLOUT.split(";"):
        connection.execute(text(statement))


OUTCOMES_BY_ROLLOUT = """
ALTER TABLE responses ADD COLUMN generation INTEGER;
CREATE INDEX responses_by_generation ON responses (adapter, generation);
CREATE TABLE failures (
    id VARCHAR PRIMARY KEY, created FLOAT NOT NULL, adapter VARCHAR NOT NULL, generation INTEGER,
    reason VARCHAR NOT NULL);
CREATE INDEX failures_by_generation ON failures (adapter, generation);
ALTER TABLE rollouts ADD COLUMN terms JSON
"""


def queue_and_statistics(connection: Connection) -> None:
    """Who looks at which answer now; and answers found by adapter, key or neither in the order of their times."""
    for statement in QUEUE_AND_STATISTICS.split(";"):
        connection.execute(text(statement))


QUEUE_AND_STATISTICS = """
CREATE TABLE claims (
    response_id VARCHAR PRIMARY KEY REFERENCES responses (id), key_id VARCHAR NOT NULL, holder VARCHAR NOT NULL,
    expires FLOAT NOT NULL);
CREATE INDEX claims_by_holder ON claims (key_id, holder);
DROP INDEX responses_by_created;
DROP INDEX responses_by_key;
DROP INDEX responses_by_adapter;
CREATE INDEX responses_by_created ON responses (status, created, id);
CREATE INDEX responses_by_key ON responses (key_id, status, created, id);
CREATE INDEX responses_by_adapter ON responses (adapter, status, created, id);
CREATE INDEX corrections_by_created ON corrections (created)
"""


def gaps_of_replicas(connection: Connection) -> None:
    """How fast each answers now, for the training that shares its machine."""
    connection.execute(text("ALTER TABLE replicas ADD COLUMN gap_p95_s FLOAT"))


def what_runs_have_seen(connection: Connection) -> None:
    """Up to which correction, beside the manifest: that names each of them, and may be many megabytes."""
    connection.execute(text("ALTER TABLE runs ADD COLUMN last_sequence INTEGER"))
    manifests = text("SELECT manifest FROM runs WHERE id = :id").columns(column("manifest", JSON))
    for run_id in connection.execute(text("SELECT id FROM runs")).scalars().all():
        manifest = connection.execute(manifests, {"id": run_id}).scalar_one() or {}
        if "last_sequence" in manifest:
            seen = {"id": run_id, "seen": manifest["last_sequence"]}
            connection.execute(text("UPDATE runs SET last_sequence = :seen WHERE id = :id"), seen)


def corrections_in_quarantine(connection: Connection) -> None:
    """Those that wait for a reviewer are few among all.

    An index of these alone: of one of all statuses, SQLite thinks that it finds the corrections of one response by it.
    """
    statement = (
        "CREATE INDEX corrections_in_quarantine ON corrections (sequence) WHERE status = 'quarantined'"
    )
    connection.execute(text(statement))


def leases(connection: Connection) -> None:
    """Which of several processes does what only one may do, and who does each run."""
    connection.execute(
        text(
            "CREATE TABLE leases (name VARCHAR PRIMARY KEY, holder VARCHAR NOT NULL, expires FLOAT NOT NULL)"
        )
    )
    connection.execute(text("ALTER TABLE runs ADD COLUMN holder VARCHAR"))


def adapters_to_propose(connection: Connection) -> None:
    """What was admitted to go live and is not proposed yet, so that no crash in between forgets it."""
    connection.execute(text("CREATE TABLE adapters_to_propose (version VARCHAR PRIMARY KEY)"))


def words_left_behind(connection: Connection) -> None:
    """What outlived its erasure: phrases of authors, and in reports what the tokens of an answer spelled."""
    erased = "SELECT id FROM corrections WHERE status = 'erased'"
    connection.execute(text(f"DELETE FROM insertions WHERE correction_id IN ({erased})"))
    for table, key, name, kind in (
        ("runs", "id", "progress", JSON),
        ("runs", "id", "report", JSON),
        ("runs", "id", "reason", String),
        ("adapters", "version", "report", JSON),
    ):
        rows = text(f"SELECT {key}, {name} FROM {table}").columns(column(key), column(name, kind()))
        store = text(f"UPDATE {table} SET {name} = :value WHERE {key} = :key").bindparams(
            bindparam("value", type_=kind())
        )
        for row_id, value in connection.execute(rows).all():
            if (clean := _without_words(value)) != value:
                connection.execute(store, {"key": row_id, "value": clean})


def _without_words(value: Any) -> Any:
    """JSON whose texts end before they quote what an answer's tokens spelled."""
    if isinstance(value, dict):
        return {name: _without_words(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_words(one) for one in value]
    if isinstance(value, str) and " tokens spell " in value and ", but its text is " in value:
        return value.partition(" tokens spell ")[0] + " tokens spell another text"
    return value


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    first_tables,
    lineage_and_erasure,
    screening_and_review,
    run_attempts,
    images_to_remove,
    users_and_metadata,
    secrets,
    limits_of_keys,
    outcomes_by_rollout,
    queue_and_statistics,
    gaps_of_replicas,
    what_runs_have_seen,
    corrections_in_quarantine,
    leases,
    adapters_to_propose,
    words_left_behind,
)


def schema_version(connection: Connection) -> int:
    """0 where there is nothing yet."""
    if not inspect(connection).has_table("schema_version"):
        return 0
    return int(connection.execute(text("SELECT version FROM schema_version")).scalar_one())


def migrate(connection: Connection, up_to: int = len(MIGRATIONS)) -> None:
    """Bring the database to today's schema. Raises `StateError` on one that a newer Errata made."""
    version = schema_version(connection)
    if not inspect(connection).has_table("schema_version"):
        connection.execute(text("CREATE TABLE schema_version (version INTEGER NOT NULL)"))
        connection.execute(text("INSERT INTO schema_version VALUES (0)"))
    if version > len(MIGRATIONS):
        raise StateError(
            f"the database has schema {version}, this Errata knows up to {len(MIGRATIONS)}: "
            "start it with the newer Errata that wrote it"
        )
    for migration in MIGRATIONS[version:up_to]:
        migration(connection)
    connection.execute(text("UPDATE schema_version SET version = :v"), {"v": max(version, up_to)})
