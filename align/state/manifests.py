"""What a run's manifest says of its items: which corrections taught, which judged, which answers were looked at."""

from __future__ import annotations

from typing import Any

ROLES = ("train", "held_out", "general")
"""`train` and `held_out` hold ids of corrections, `general` ids of responses."""


def items_of(manifest: dict[str, Any] | None) -> set[str]:
    """All corrections and responses that the run has seen."""
    return {item for role in ROLES for item in (manifest or {}).get(role, ())}


def role_of(manifest: dict[str, Any] | None, item: str) -> str | None:
    """As what the run has seen it; none where it has not."""
    return next((role for role in ROLES if item in (manifest or {}).get(role, ())), None)
