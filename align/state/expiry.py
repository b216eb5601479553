"""What is kept no longer because it is old and nobody said anything about it. In steps: others write in between.

An expired answer is erased as one that somebody deleted, but taints nothing: what learned from it may go on. And it
counts on, as an answer that nobody corrected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from . import schema
from .database import Database
from .erasures import erase_responses
from .responses import EXPIRED
from .runs import ENDED, UNDER_WAY
from .wanted_responses import IMPORTED

MAX_COUNTED = 10_000
IDS = schema.responses.c.id


class Expiry:
    def __init__(self, database: Database) -> None:
        self._database = database

    def responses(self, before: float, limit: int) -> int:
        """Erase the oldest answers that were given before; returns how many, at most `limit`.

        Not those that a run under way has seen, nor those that somebody looks at to correct them.
        """
        with self._database.write() as connection:
            seen = _seen_by_runs(connection)
            if seen is None:
                return 0
            old = select(IDS).where(*_is_expired(before)).order_by(schema.responses.c.created)
            ids = [
                one for one in connection.execute(old.limit(limit + len(seen))).scalars() if one not in seen
            ]
            if ids := ids[:limit]:
                erase_responses(connection, IDS.in_(ids))
                connection.execute(update(schema.responses).where(IDS.in_(ids)).values(status=EXPIRED))
        return len(ids)

    def count_responses(self, before: float) -> int:
        """How many answers have expired and are still there, at most `MAX_COUNTED`."""
        some = select(IDS).where(*_is_expired(before)).limit(MAX_COUNTED).subquery()
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(some)).scalar_one())

    def orphans(self, digests: Iterable[str]) -> int:
        """Leave those of these images that no answer shows to `Erasures.remove_images`; returns how many."""
        asked, links, left = set(digests), schema.response_images.c.sha256, schema.images_to_remove.c.sha256
        with self._database.write() as connection:
            shown = set(connection.execute(select(links).where(links.in_(asked)).distinct()).scalars())
            known = set(connection.execute(select(left).where(left.in_(asked))).scalars())
            orphans = [{"sha256": digest} for digest in sorted(asked - shown - known)]
            if orphans:
                connection.execute(insert(schema.images_to_remove), orphans)
        return len(orphans)

    def unnamed(self, blobs: Collection[str]) -> list[str]:
        """Those of these folders that belong to no version, nor to a run that made one or may yet, in order."""
        with self._database.read() as connection:
            return sorted(set(blobs) - _named(connection, blobs))

    def remove_unnamed(self, blob: str, remove: Callable[[str], object]) -> bool:
        """Call `remove` for a folder that is `unnamed`; returns whether it was.

        Under the write lock, and not while a run is in its gate: it uploads afterwards, leaves out what is there
        already, and then names it. One that comes to its gate later waits for the lock.
        """
        with self._database.write() as connection:
            gating = select(schema.runs.c.id).where(schema.runs.c.status == "gating")
            if connection.execute(gating.limit(1)).first() is not None or _named(connection, [blob]):
                return False
            remove(blob)
        return True


def _named(connection: Connection, blobs: Collection[str]) -> set[str]:
    """`adapters/...` by a version, `reports/...` by the id of a run."""
    column, runs = schema.adapters.c.blob, schema.runs.c
    named = set(connection.execute(select(column).where(column.in_(blobs))).scalars())
    reports = {blob.removeprefix("reports/"): blob for blob in blobs}
    is_needed = runs.adapter.is_not(None) | runs.status.not_in(ENDED)
    run_ids = connection.execute(select(runs.id).where(runs.id.in_(reports), is_needed)).scalars()
    return named | {reports[run_id] for run_id in run_ids}


def _is_expired(before: float) -> tuple[ColumnElement[bool], ...]:
    responses, corrections, claims = schema.responses.c, schema.corrections, schema.claims
    # one whose time is over stays until somebody takes the next answer, which may be never
    is_looked_at = (claims.c.response_id == responses.id) & (claims.c.expires > time.time())
    return (
        responses.status == "kept",
        responses.created < before,
        responses.adapter != IMPORTED,
        ~select(corrections.c.id).where(corrections.c.response_id == responses.id).exists(),
        ~select(claims.c.response_id).where(is_looked_at).exists(),
    )


def _seen_by_runs(connection: Connection) -> set[str] | None:
    """None where a run has not said yet what it sees.

    Of its manifest only the answers that nobody corrected, which are few: a corrected one is kept for its correction.
    """
    runs = schema.runs.c
    general = select(runs.manifest["general"]).where(runs.status.in_(UNDER_WAY))
    seen = list(connection.execute(general).scalars())
    if None in seen:
        return None
    return {response_id for ids in seen for response_id in ids}
