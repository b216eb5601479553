"""Which phrases corrections inserted over which images, so that the same one inserted again and again is found.

What counts as a phrase is decided in `align.abuse`. Rows of erased corrections are gone with their words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, func, insert, select

from . import schema
from .database import Database

if TYPE_CHECKING:
    from .corrections import Correction

TABLE = schema.insertions


@dataclass(frozen=True)
class Inserted:
    """The phrases that a correction inserts, and over which images: the SHA-256 of `Conversation.group`."""

    image_group: str
    phrases: frozenset[str]


class Insertions:
    def __init__(self, database: Database) -> None:
        self._database = database

    def num_images(self, inserted: Inserted, window: int) -> dict[str, int]:
        """On how many other images each of the phrases was inserted, unreviewed, in the newest corrections."""
        number = func.count(TABLE.c.image_group.distinct())
        with self._database.read() as connection:
            which = [_is_elsewhere(inserted), *_unreviewed(connection, window)]
            rows = connection.execute(select(TABLE.c.phrase, number).where(*which).group_by(TABLE.c.phrase))
            return {row[0]: row[1] for row in rows}

    def num_images_by_source(self, inserted: Inserted, window: int) -> dict[tuple[str, str], int]:
        """The same by phrase and source."""
        columns = (TABLE.c.phrase, TABLE.c.source)
        number = func.count(TABLE.c.image_group.distinct())
        with self._database.read() as connection:
            which = [_is_elsewhere(inserted), *_unreviewed(connection, window)]
            rows = connection.execute(select(*columns, number).where(*which).group_by(*columns))
            return {(row[0], row[1]): row[2] for row in rows}

    def num_corrections(self, sources: Collection[str], window: int) -> dict[str, int]:
        """How many unreviewed ones of the newest corrections inserted something, by source."""
        number = func.count(TABLE.c.correction_id.distinct())
        with self._database.read() as connection:
            which = [TABLE.c.source.in_(sources), *_unreviewed(connection, window)]
            rows = connection.execute(select(TABLE.c.source, number).where(*which).group_by(TABLE.c.source))
            return {row[0]: row[1] for row in rows}

    def num_corrections_in_all(self, window: int) -> int:
        """How many unreviewed ones of the newest corrections inserted something."""
        number = func.count(TABLE.c.correction_id.distinct())
        with self._database.read() as connection:
            query = select(number).where(*_unreviewed(connection, window))
            return int(connection.execute(query).scalar_one())

    def num_reviewed(self, phrases: Collection[str]) -> tuple[dict[str, int], int]:
        """On how many images each phrase was inserted with a reviewer's word, and over how many in all."""
        reviewed = TABLE.c.is_reviewed == 1
        images = func.count(TABLE.c.image_group.distinct())
        with self._database.read() as connection:
            rows = connection.execute(
                select(TABLE.c.phrase, images)
                .where(TABLE.c.phrase.in_(phrases), reviewed)
                .group_by(TABLE.c.phrase)
            ).all()
            total = connection.execute(select(images).where(reviewed)).scalar_one()
        return {row[0]: row[1] for row in rows}, int(total)

    def _by_key(self, which: ColumnElement[bool]) -> dict[str, set[str]]:
        """The phrases that each key inserted, in corrections that were not rejected."""
        corrections = schema.corrections
        query = (
            select(TABLE.c.key_id, TABLE.c.phrase)
            .join(corrections, corrections.c.id == TABLE.c.correction_id)
            .where(corrections.c.status != "rejected", which)
            .distinct()
        )
        result: dict[str, set[str]] = defaultdict(set)
        with self._database.read() as connection:
            for key_id, phrase in connection.execute(query):
                result[key_id].add(phrase)
        return result

    def here(self, image_group: str) -> dict[str, set[str]]:
        """The phrases that each key inserted over these images."""
        return self._by_key(TABLE.c.image_group == image_group)

    def elsewhere(self, image_group: str, phrases: Collection[str]) -> dict[str, set[str]]:
        """Which of the phrases each key inserted over other images."""
        return self._by_key((TABLE.c.image_group != image_group) & TABLE.c.phrase.in_(phrases))

    def of(self, correction_id: str) -> frozenset[str]:
        query = select(TABLE.c.phrase).where(TABLE.c.correction_id == correction_id)
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())


def add_insertions(connection: Connection, correction: Correction, inserted: Inserted) -> None:
    rows = [
        {
            "correction_id": correction.id,
            "phrase": phrase,
            "sequence": correction.sequence,
            "key_id": correction.key_id,
            "source": correction.source,
            "image_group": inserted.image_group,
            "is_reviewed": int(correction.is_reviewed),
        }
        for phrase in sorted(inserted.phrases)
    ]
    if rows:
        connection.execute(insert(TABLE), rows)


def _is_elsewhere(inserted: Inserted) -> ColumnElement[bool]:
    return TABLE.c.phrase.in_(inserted.phrases) & (TABLE.c.image_group != inserted.image_group)


def _unreviewed(connection: Connection, window: int) -> tuple[ColumnElement[bool], ...]:
    last = connection.execute(select(func.coalesce(func.max(TABLE.c.sequence), 0))).scalar_one()
    return (TABLE.c.is_reviewed == 0, TABLE.c.sequence > last - window)
