"""Answers that a dataset brought, each with its correction. Adding one twice is adding it once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, insert, select

from . import schema
from .corrections import Correction, last_sequence
from .database import Database
from .responses import Response, insert_responses
from .rows import to_row


class Imports:
    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, response_ids: Sequence[str]) -> set[str]:
        """Those that are there, erased ones included."""
        with self._database.read() as connection:
            return _known(connection, response_ids)

    def add(self, records: Sequence[tuple[Response, Correction]], put_images: Callable[[], object]) -> int:
        """All of them or none, in one transaction; returns how many were new.

        One whose response is there already, erased ones included, is left as it is. `put_images` is called under
        the write lock, as in `Responses.add`.
        """
        with self._database.write() as connection:
            known = _known(connection, [response.id for response, _ in records])
            new = [(response, correction) for response, correction in records if response.id not in known]
            if not new:
                return 0
            put_images()
            insert_responses(connection, [response for response, _ in new])
            first = last_sequence(connection) + 1
            corrections = [
                to_row(replace(correction, sequence=sequence, effective_sequence=sequence))
                for sequence, (_, correction) in enumerate(new, first)
            ]
            connection.execute(insert(schema.corrections), corrections)
        return len(new)


def _known(connection: Connection, response_ids: Sequence[str]) -> set[str]:
    ids = schema.responses.c.id
    return set(connection.execute(select(ids).where(ids.in_(response_ids))).scalars())
