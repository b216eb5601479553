"""What was served, token by token, so that a correction can be tied to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, tuple_

from ..conversation import Conversation
from ..errors import NotFound
from . import schema
from .database import Database
from .rows import from_row, to_row
from .wanted_responses import IMPORTED, WantedResponses

EXPIRED = "expired"
"""The status of an answer that was erased because it was old and nobody had corrected it."""
ANSWERS = ("kept", EXPIRED)
"""The statuses of answers that count among all: without the expired ones, only those that were corrected would stay."""


@dataclass(frozen=True)
class Response:
    id: str
    created: float
    model: str
    adapter: str
    conversation: list[dict[str, Any]]  # Conversation.to_json
    sampling: dict[str, Any]
    text: str
    token_ids: list[int]  # as sampled, the end-of-sequence id included
    finish_reason: str
    num_prompt_tokens: int
    timings: dict[str, float]  # seconds
    key_id: str
    status: str = "kept"
    user: str | None = None  # the end user, as the application names them
    metadata: dict[str, str] = field(default_factory=dict)  # the application's own words
    generation: int | None = None  # the rollout that chose the adapter; none where the request named it

    @property
    def is_erased(self) -> bool:
        """Whether its words are gone, on whoever's wish."""
        return self.status in ("erased", EXPIRED)


@dataclass(frozen=True)
class Place:
    """Among all answers: by the time at which each was given, and by their ids those of the same time."""

    created: float
    response_id: str


class Responses:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, response: Response, put_images: Callable[[], object] | None = None) -> None:
        """`put_images` stores its images; it is called under the write lock, so that no deletion of another response
        takes them away before this one is there. Call it before as well: then it finds them and holds nobody up.
        """

        def write(connection: Connection) -> None:
            if put_images is not None:
                put_images()
            insert_responses(connection, [response])

        self._database.write_together(write)

    def get(self, response_id: str) -> Response:
        """Raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(
                select(schema.responses).where(schema.responses.c.id == response_id)
            ).one_or_none()
        if row is None:
            raise NotFound(
                f"no response {response_id!r}; use the id of a chat completion of this server that was not asked "
                "for with store=false"
            )
        return from_row(Response, row)

    def matching(
        self, wanted: WantedResponses, limit: int, after: str | None = None
    ) -> list[tuple[Response, int]]:
        """The newest first, those that are older than `after`; each with how many corrections there are of it.

        Raises `NotFound` where there is no such `after`.
        """
        query = select(schema.responses).where(*wanted.conditions()).limit(limit)
        with self._database.read() as connection:
            place = None if after is None else place_of(connection, after)
            rows = connection.execute(in_order(query, place))
            responses = [from_row(Response, row) for row in rows]
            numbers = _count_corrections(connection, [response.id for response in responses])
        return [(response, numbers.get(response.id, 0)) for response in responses]

    def uncorrected(self, adapter: str) -> list[str]:
        """The ids of the adapter's answers that ended by themselves and that nobody found wrong."""
        table, corrections = schema.responses, schema.corrections
        corrected = select(corrections.c.id).where(
            corrections.c.response_id == table.c.id, corrections.c.status != "nothing_wrong"
        )
        query = select(table.c.id).where(
            table.c.adapter == adapter,
            table.c.status == "kept",
            table.c.finish_reason == "stop",
            ~corrected.exists(),  # NOT IN would look through all corrections for each answer, on PostgreSQL
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def count_of_adapter(self, version: str) -> int:
        """How many answers it gave, the erased ones included."""
        answers = select(func.count()).select_from(schema.responses)
        with self._database.read() as connection:
            return int(connection.execute(answers.where(schema.responses.c.adapter == version)).scalar_one())

    def recent_texts(self, limit: int) -> list[tuple[str, str]]:
        """(key id, text) of the newest answers that are kept."""
        table = schema.responses
        query = select(table.c.key_id, table.c.text).where(table.c.status == "kept")
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.created.desc()).limit(limit))
            return [(row.key_id, row.text) for row in rows]

    def count_by_adapter(self) -> dict[str, int]:
        """Of the answers that this server gave."""
        table = schema.responses
        query = select(table.c.adapter, func.count()).where(table.c.adapter != IMPORTED)
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(table.c.adapter)).all()
        return {row[0]: row[1] for row in rows}


def insert_responses(connection: Connection, responses: Sequence[Response]) -> None:
    """At least one, each with the images that it shows."""
    connection.execute(insert(schema.responses), [to_row(response) for response in responses])
    links = [
        {"response_id": response.id, "sha256": digest}
        for response in responses
        for digest in sorted(set(Conversation.from_json(response.conversation).image_ids))
    ]
    if links:
        connection.execute(insert(schema.response_images), links)


def place_of(connection: Connection, response_id: str) -> Place:
    """An erased answer keeps its place. Raises `NotFound`."""
    table = schema.responses.c
    row = connection.execute(select(table.created, table.id).where(table.id == response_id)).one_or_none()
    if row is None:
        raise NotFound(f"no response {response_id!r}")
    return Place(row.created, row.id)


def in_order(query: Select[Any], place: Place | None, *, is_newest_first: bool = True) -> Select[Any]:
    """From the place on, without the answer that has it; from the first, where no place is given."""
    created, response_id = schema.responses.c.created, schema.responses.c.id
    if place is not None:
        here, there = tuple_(created, response_id), tuple_(place.created, place.response_id)
        query = query.where(here < there if is_newest_first else here > there)
    if is_newest_first:
        return query.order_by(created.desc(), response_id.desc())
    return query.order_by(created, response_id)


def _count_corrections(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """By response, of at most a page of them, those that are not erased."""
    table = schema.corrections.c
    query = select(table.response_id, func.count()).where(
        table.response_id.in_(ids), table.status != "erased"
    )
    return {row[0]: row[1] for row in connection.execute(query.group_by(table.response_id))}


def responses_by_id(connection: Connection, ids: Sequence[str]) -> dict[str, Response]:
    """Those that there are, of at most a page of ids."""
    rows = connection.execute(select(schema.responses).where(schema.responses.c.id.in_(ids)))
    return {row.id: from_row(Response, row) for row in rows}
