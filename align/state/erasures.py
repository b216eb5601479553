"""Forgetting, in one transaction: words blanked, adapters that learned from them marked, a run without them asked for.

Rows stay without their words: a late correction is told why, a client's repeat stores nothing anew, and what an
adapter learned from can still be named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from ..errors import NotFound
from . import schema
from .database import Database
from .responses import EXPIRED
from .taint import check_run, taint, those_with_status

BLANK_RESPONSE: dict[str, Any] = {
    "status": "erased",
    "conversation": [],
    "sampling": {},  # its stop strings are words, too
    "text": "",
    "token_ids": [],
    "user": None,
    "metadata": {},
}
BLANK_CORRECTION: dict[str, Any] = {
    "status": "erased",
    "corrected_text": "",
    "spans": [],
    "author": None,
    "body_sha256": "",  # short words can be guessed from their hash
    "source": schema.corrections.c.key_id,  # without the author
    "questioned": [],
}
IMAGES_A_TRANSACTION = 20


@dataclass(frozen=True)
class Erasure:
    """What a deletion erased, and what follows from it; the same where it is repeated, but for the run."""

    responses: tuple[str, ...]
    corrections: tuple[str, ...]
    tainted: tuple[str, ...]  # adapter versions whose manifests hold one of them
    run_id: str | None  # the run without them that was asked for; none where none is needed


class Erasures:
    def __init__(self, database: Database) -> None:
        self._database = database

    def response(self, response_id: str) -> Erasure:
        """A response and all corrections of it. Raises `NotFound`."""
        return self._erase(
            schema.responses.c.id == response_id,
            schema.corrections.c.response_id == response_id,
            f"no response {response_id!r}",
        )

    def correction(self, correction_id: str) -> Erasure:
        """One correction; the response stays. Raises `NotFound`."""
        return self._erase(None, schema.corrections.c.id == correction_id, f"no correction {correction_id!r}")

    def source(self, source: str) -> Erasure:
        """All that was answered to a key or corrected with it; of a source KEY/AUTHOR, what the author corrected.

        Raises `NotFound` where there never was anything, and for KEY/AUTHOR where all was erased before.
        """
        responses, corrections = schema.responses, schema.corrections
        answered = select(responses.c.id).where(responses.c.key_id == source)
        came_from = (corrections.c.key_id == source) | (corrections.c.source == source)
        return self._erase(
            responses.c.key_id == source,
            came_from | corrections.c.response_id.in_(answered),
            f"no response or correction came from {source!r}, or what an author of a key corrected is erased already; "
            "`errata keys list` shows the ids of keys",
        )

    def check(self, run_id: str) -> None:
        """Raises `Conflict` where something that the run has seen was erased or rejected since."""
        with self._database.read() as connection:
            check_run(connection, run_id)

    def among(self, manifest: dict[str, Any] | None) -> list[str]:
        """Those of the responses and corrections that a run has seen that were erased or have expired, in order."""
        with self._database.read() as connection:
            gone = [those_with_status(connection, manifest, status) for status in ("erased", EXPIRED)]
        return sorted(chain.from_iterable(gone))

    def remove_images(self, remove: Callable[[str], object]) -> int:
        """Call `remove` for each image that only erased responses showed; returns for how many.

        Under the write lock, so that no answer that shows it is recorded in between. What was cut off by a crash
        is done at the next call.
        """
        number = 0
        while (batch := self._remove_some(remove)) is not None:
            number += batch
        return number

    def _remove_some(self, remove: Callable[[str], object]) -> int | None:
        """A few, so that those who want to write wait for a moment only; none where nothing is left."""
        left, links = schema.images_to_remove.c.sha256, schema.response_images.c.sha256
        with self._database.write() as connection:
            digests = set(connection.execute(select(left).limit(IMAGES_A_TRANSACTION)).scalars())
            shown = set(connection.execute(select(links).where(links.in_(digests)).distinct()).scalars())
            for digest in digests - shown:
                remove(digest)
            connection.execute(delete(schema.images_to_remove).where(left.in_(digests)))
        return len(digests - shown) if digests else None

    def _erase(
        self,
        which_responses: ColumnElement[bool] | None,
        which_corrections: ColumnElement[bool],
        missing: str,
    ) -> Erasure:
        with self._database.write() as connection:
            _forget_insertions(connection, which_corrections)  # first: a blank row no longer names its author
            corrections = _blank(connection, schema.corrections, which_corrections, BLANK_CORRECTION)
            responses: tuple[str, ...] = ()
            if which_responses is not None:
                responses = erase_responses(connection, which_responses)
            erased = {*responses, *corrections}
            if not erased:
                raise NotFound(missing)
            tainted = taint(connection, erased, "erasure")
        return Erasure(responses, corrections, tainted.versions, tainted.run_id)


def erase_responses(connection: Connection, which: ColumnElement[bool]) -> tuple[str, ...]:
    """Their ids, the oldest first; their images are left to `Erasures.remove_images`."""
    ids = _blank(connection, schema.responses, which, BLANK_RESPONSE)
    _leave_images(connection, which)
    _forget_claims(connection, which)
    return ids


def _blank(
    connection: Connection, table: Any, which: ColumnElement[bool], values: dict[str, Any]
) -> tuple[str, ...]:
    """The ids of the rows, the oldest first."""
    ids = tuple(connection.execute(select(table.c.id).where(which).order_by(table.c.created)).scalars())
    connection.execute(update(table).where(which, table.c.status != "erased").values(values))
    return ids


def _leave_images(connection: Connection, which_responses: ColumnElement[bool]) -> None:
    """To be removed, where no other response shows them."""
    links, left = schema.response_images, schema.images_to_remove
    erased = links.c.response_id.in_(select(schema.responses.c.id).where(which_responses))
    shown = select(links.c.sha256).where(erased, links.c.sha256.not_in(select(left.c.sha256))).distinct()
    connection.execute(insert(left).from_select(["sha256"], shown))
    connection.execute(delete(links).where(erased))


def _forget_claims(connection: Connection, which_responses: ColumnElement[bool]) -> None:
    erased = select(schema.responses.c.id).where(which_responses)
    connection.execute(delete(schema.claims).where(schema.claims.c.response_id.in_(erased)))


def _forget_insertions(connection: Connection, which_corrections: ColumnElement[bool]) -> None:
    insertions = schema.insertions
    erased = select(schema.corrections.c.id).where(which_corrections)
    connection.execute(delete(insertions).where(insertions.c.correction_id.in_(erased)))
