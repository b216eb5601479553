"""What follows for adapters when something they learned from may not teach any more: erased, or rejected in review."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from ..errors import Conflict
from . import schema
from .manifests import adapters_with_manifests, items_of
from .rollouts import abandon_preparing
from .runs import UNDER_WAY, request_run

TAINTING = ("erased", "rejected")
"""The statuses of responses and corrections from which nothing may be learned."""
ITEMS_A_QUERY = 1000


@dataclass(frozen=True)
class Taint:
    """The versions whose manifests hold one of the items, and the run without them; none where none is needed."""

    versions: tuple[str, ...]
    run_id: str | None


def taint(connection: Connection, items: Set[str], trigger: str) -> Taint:
    """Mark the versions, end a rollout that would let one serve, and ask for a run without the items."""
    adapters, rows = schema.adapters, adapters_with_manifests(connection)
    concerned = {row.version: row.tainted for row in rows if items & items_of(row.manifest)}
    connection.execute(
        update(adapters)
        .where(adapters.c.version.in_(concerned), adapters.c.tainted.is_(None))
        .values(tainted=time.time())
    )
    abandon_preparing(connection, concerned, "what it learned from was erased or rejected")
    is_new = None in concerned.values()
    run_id = None
    if is_new or _are_being_learned(connection, items):
        run_id = request_run(connection, trigger).id
    return Taint(tuple(concerned), run_id)


def check_run(connection: Connection, run_id: str) -> None:
    """Raises `Conflict` where something that the run has seen was erased or rejected since."""
    runs = schema.runs
    manifest = connection.execute(select(runs.c.manifest).where(runs.c.id == run_id)).scalar_one()
    for status in TAINTING:
        if gone := those_with_status(connection, manifest, status):
            raise Conflict(f"{', '.join(gone[:3])} was {status} during the run; one without it is asked for")


def those_with_status(connection: Connection, manifest: dict[str, Any] | None, status: str) -> list[str]:
    """Of the corrections and responses that the run has seen, in order."""
    corrections, responses = schema.corrections.c, schema.responses.c
    gone = set(connection.execute(select(corrections.id).where(corrections.status == status)).scalars())
    found = gone & items_of(manifest)
    # the other way round: a run looks at few answers beside those corrected, and retention erases them without end
    seen = list((manifest or {}).get("general", ()))
    for first in range(0, len(seen), ITEMS_A_QUERY):
        some = responses.id.in_(seen[first : first + ITEMS_A_QUERY])
        query = select(responses.id).where(some, responses.status == status)
        found |= set(connection.execute(query).scalars())
    return sorted(found)


def _are_being_learned(connection: Connection, items: Set[str]) -> bool:
    """By a run under way; one without a manifest may be reading them just now."""
    runs = schema.runs
    under_way = connection.execute(select(runs.c.manifest).where(runs.c.status.in_(UNDER_WAY))).scalars()
    return bool(items) and any(m is None or items & items_of(m) for m in under_way)
