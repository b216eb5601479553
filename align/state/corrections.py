"""What people said was wrong. Adding one twice under the same idempotency key is adding it once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Select, bindparam, exists, func, insert, select

from ..errors import Conflict, NotFound
from ..spans import Span
from . import schema
from .database import Database
from .insertions import Inserted, add_insertions
from .postgresql import in_order_of_arrival
from .responses import Response, responses_by_id
from .rows import from_row, to_row
from .wanted import Wanted

STATUSES = ("accepted", "quarantined", "rejected", "nothing_wrong", "erased")

TABLE = schema.corrections

# What every correction asks, composed once: that takes longer than the answer.
NEWEST = select(func.coalesce(func.max(TABLE.c.effective_sequence), 0))
STATUS_AND_NEWEST = select(
    select(schema.responses.c.status).where(schema.responses.c.id == bindparam("response")).scalar_subquery(),
    NEWEST.scalar_subquery(),
)
EARLIER = select(TABLE).where(
    TABLE.c.key_id == bindparam("key"), TABLE.c.idempotency_key == bindparam("idempotency")
)


@dataclass(frozen=True)
class Correction:
    id: str
    created: float
    status: str  # one of STATUSES
    response_id: str
    corrected_text: str
    spans: list[dict[str, Any]]  # start, end, replacement, kind
    author: str | None
    key_id: str
    idempotency_key: str | None
    body_sha256: str
    source: str  # as `align.abuse.source` names it
    reason: str | None = None  # why it is, or once was, quarantined: a code of `align.abuse.screening`
    questioned: list[str] = field(default_factory=list)  # the inserted phrases that are in question
    reviewed: float | None = None  # when a reviewer settled it; at once where an admin sent it
    reviewer: str | None = None  # the reviewer's key
    sequence: int = 0  # given by the store: the order of arrival
    effective_sequence: int = 0  # given by the store: higher where it was released later

    @property
    def is_reviewed(self) -> bool:
        return self.reviewed is not None

    @property
    def as_spans(self) -> tuple[Span, ...]:
        return tuple(Span(**span) for span in self.spans)


@dataclass(frozen=True)
class Origin:
    correction_id: str
    source: str
    is_reviewed: bool


class Corrections:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, correction: Correction, inserted: Inserted | None = None) -> Correction:
        """The stored record, the earlier one where it is a repeat. Raises `Conflict`, `NotFound`."""
        return self._database.write_together(
            lambda connection: insert_correction(connection, correction, inserted)
        )

    def earlier(self, correction: Correction) -> Correction | None:
        """The stored record that this one repeats, by its idempotency key. Raises `Conflict`."""
        with self._database.read() as connection:
            return _earlier(connection, correction)

    def get(self, correction_id: str) -> Correction:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(
                select(schema.corrections).where(schema.corrections.c.id == correction_id)
            ).one_or_none()
        if row is None:
            raise NotFound(f"no correction {correction_id!r}")
        return from_row(Correction, row)

    def page(self, limit: int, after: int = 0) -> list[Correction]:
        """In order of arrival, those whose `sequence` is above `after`."""
        table = schema.corrections
        query = select(table).where(table.c.sequence > after).order_by(table.c.sequence).limit(limit)
        with self._database.read() as connection:
            return [from_row(Correction, row) for row in connection.execute(query)]

    def matching(
        self, wanted: Wanted, limit: int, before: int | None = None
    ) -> list[tuple[Correction, Response]]:
        """The newest first, those whose `sequence` is below `before`: what arrives meanwhile moves no page."""
        table = schema.corrections
        query = select(table).join(schema.responses, schema.responses.c.id == table.c.response_id)
        query = query.where(*wanted.conditions()).order_by(table.c.sequence.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.sequence < before)
        with self._database.read() as connection:
            corrections = [from_row(Correction, row) for row in connection.execute(query)]
            responses = responses_by_id(connection, [one.response_id for one in corrections])
        return [(one, responses[one.response_id]) for one in corrections]

    def trainable(self, page_size: int = 256) -> Iterator[tuple[Correction, Response]]:
        """All that are accepted now, in order of arrival; of several on one response only the newest counts.

        A page at a time is in memory, each read in a transaction of its own: one that stayed open would keep erased
        words in the write-ahead log. Corrections that arrive meanwhile are left out, and replace none.
        """
        sequence = schema.corrections.c.sequence
        last, after = self.last_sequence(), 0
        while after < last:
            page = _trainable(last).where(sequence > after).order_by(sequence).limit(page_size)
            with self._database.read() as connection:
                corrections = [from_row(Correction, row) for row in connection.execute(page)]
                responses = responses_by_id(connection, [one.response_id for one in corrections])
            for correction in corrections:
                yield correction, responses[correction.response_id]
            after = corrections[-1].sequence if corrections else last

    def origins(self) -> list[Origin]:
        """Where each of the trainable ones comes from."""
        table = schema.corrections
        query = _trainable().with_only_columns(table.c.id, table.c.source, table.c.reviewed)
        with self._database.read() as connection:
            return [Origin(row.id, row.source, row.reviewed is not None) for row in connection.execute(query)]

    def count_after(self, sequence: int) -> int:
        """How many of the trainable ones arrived, or were released, later than `sequence`."""
        later = _trainable().where(schema.corrections.c.effective_sequence > sequence)
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(later.subquery())).scalar_one())

    def last_sequence(self) -> int:
        """Of the newest correction of any status, or of the newest release; 0 before the first."""
        with self._database.read() as connection:
            return last_sequence(connection)

    def times(self, source: str, since: float) -> list[float]:
        """When the corrections of one source came, in seconds since the epoch."""
        table = schema.corrections
        query = select(table.c.created).where(table.c.source == source, table.c.created > since)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def count_by_status(self) -> dict[str, int]:
        table = schema.corrections
        with self._database.read() as connection:
            rows = connection.execute(select(table.c.status, func.count()).group_by(table.c.status)).all()
        return {row[0]: row[1] for row in rows}


def insert_correction(
    connection: Connection, correction: Correction, inserted: Inserted | None
) -> Correction:
    """The stored record, the earlier one where it is a repeat. Raises `Conflict`, `NotFound`."""
    in_order_of_arrival(connection)
    if (earlier := _earlier(connection, correction)) is not None:
        return earlier
    # arrivals and releases count in one order, and no arrival is effective before it came
    status, newest = connection.execute(STATUS_AND_NEWEST, {"response": correction.response_id}).one()
    if status != "kept":
        raise NotFound(f"no response {correction.response_id!r}, or it was erased")
    stored = replace(correction, sequence=newest + 1, effective_sequence=newest + 1)
    connection.execute(insert(TABLE), to_row(stored))
    if inserted is not None:
        add_insertions(connection, stored, inserted)
    return stored


def last_sequence(connection: Connection) -> int:
    return int(connection.execute(NEWEST).scalar_one())


def _trainable(up_to: int | None = None) -> Select[Any]:
    """As things stood when the correction of sequence `up_to` was the newest; none: as they stand."""
    table, later = schema.corrections, schema.corrections.alias()
    is_replaced = exists().where(
        later.c.response_id == table.c.response_id,
        later.c.sequence > table.c.sequence,
        later.c.status.in_(("accepted", "nothing_wrong")),
    )
    query = select(table).where(table.c.status == "accepted")
    if up_to is None:
        return query.where(~is_replaced)
    return query.where(table.c.sequence <= up_to, ~is_replaced.where(later.c.sequence <= up_to))


def spans_to_json(spans: Iterable[Span]) -> list[dict[str, Any]]:
    return [to_row(span) for span in spans]


def _earlier(connection: Connection, correction: Correction) -> Correction | None:
    if correction.idempotency_key is None:
        return None
    which = {"key": correction.key_id, "idempotency": correction.idempotency_key}
    row = connection.execute(EARLIER, which).one_or_none()
    return None if row is None else _replayed(from_row(Correction, row), correction)


def _replayed(stored: Correction, repeated: Correction) -> Correction:
    if stored.status == "erased":
        raise Conflict(f"the correction with idempotency key {stored.idempotency_key!r} was deleted")
    if stored.body_sha256 != repeated.body_sha256:
        raise Conflict(
            f"idempotency key {repeated.idempotency_key!r} was used with another body; "
            "use a new key for a new correction"
        )
    return stored
