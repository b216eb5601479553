"""What was served, token by token, so that a correction can be tied to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, insert, select

from ..conversation import Conversation
from ..errors import NotFound
from . import schema
from .database import Database
from .rows import from_row, to_row

IMPORTED = "imported"
"""In the place of an adapter version where a dataset brought the answer: no version of this server gave it."""


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
        return self.status == "erased"


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

    def uncorrected(self, adapter: str) -> list[str]:
        """The ids of the adapter's answers that ended by themselves and that nobody found wrong."""
        table, corrections = schema.responses, schema.corrections
        corrected = select(corrections.c.response_id).where(corrections.c.status != "nothing_wrong")
        query = select(table.c.id).where(
            table.c.adapter == adapter,
            table.c.status == "kept",
            table.c.finish_reason == "stop",
            table.c.id.not_in(corrected),
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


def responses_by_id(connection: Connection, ids: Sequence[str]) -> dict[str, Response]:
    """Those that there are, of at most a page of ids."""
    rows = connection.execute(select(schema.responses).where(schema.responses.c.id.in_(ids)))
    return {row.id: from_row(Response, row) for row in rows}
