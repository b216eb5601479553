"""What a run's manifest says of its items: which corrections taught, which judged, which answers were looked at."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from . import schema

ROLES = ("train", "held_out", "general")
"""`train` and `held_out` hold ids of corrections, `general` ids of responses."""


def items_of(manifest: dict[str, Any] | None) -> set[str]:
    """All corrections and responses that the run has seen."""
    return {item for role in ROLES for item in (manifest or {}).get(role, ())}


def role_of(manifest: dict[str, Any] | None, item: str) -> str | None:
    """As what the run has seen it; none where it has not."""
    return next((role for role in ROLES if item in (manifest or {}).get(role, ())), None)


def adapters_with_manifests(connection: Connection) -> list[Row[Any]]:
    """version, status, tainted and manifest of all adapters, the oldest first."""
    adapters, runs = schema.adapters, schema.runs
    columns = (adapters.c.version, adapters.c.status, adapters.c.tainted, runs.c.manifest)
    query = select(*columns).join(runs, adapters.c.run_id == runs.c.id).order_by(adapters.c.version)
    return list(connection.execute(query))
