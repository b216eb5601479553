"""API keys: stored hashed, shown once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from ..errors import NotFound, StateError
from . import schema
from .database import Database
from .rows import from_row, to_row

SCOPES = ("chat", "feedback", "authors", "admin")
"""`authors`: trusted to name who made a correction, as an application does that many people use."""


@dataclass(frozen=True)
class Key:
    id: str
    created: float
    name: str
    sha256: str
    scopes: list[str]
    revoked: float | None = None
    requests_per_minute: int | None = None  # none: the server's default
    max_concurrent: int | None = None  # none: the server's default

    @property
    def account(self) -> str:
        """What its requests are counted under."""
        return self.id

    def allows(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes


class Keys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        scopes: list[str],
        requests_per_minute: int | None = None,
        max_concurrent: int | None = None,
    ) -> tuple[Key, str]:
        """The record and the secret, which is not kept. Raises `StateError` on an unknown scope."""
        if not scopes:
            raise StateError(f"a key without scopes opens nothing; choose from {', '.join(SCOPES)}")
        if unknown := sorted(set(scopes) - set(SCOPES)):
            raise StateError(f"unknown scope {', '.join(unknown)}; choose from {', '.join(SCOPES)}")
        secret = f"sk-errata-{secrets.token_urlsafe(32)}"
        key = Key(
            id=f"key-{uuid.uuid4().hex[:12]}",
            created=time.time(),
            name=name,
            sha256=_digest(secret),
            scopes=scopes,
            requests_per_minute=requests_per_minute,
            max_concurrent=max_concurrent,
        )
        with self._database.write() as connection:
            connection.execute(insert(schema.keys).values(to_row(key)))
        return key, secret

    def find(self, secret: str) -> Key | None:
        """The key that is not revoked and has this secret."""
        return find_key(secret, self.active())

    def with_id(self, key_id: str) -> Key | None:
        """The key, unless it is revoked."""
        return next((key for key in self.active() if key.id == key_id), None)

    def active(self) -> list[Key]:
        with self._database.read() as connection:
            rows = connection.execute(select(schema.keys).where(schema.keys.c.revoked.is_(None)))
            return [from_row(Key, row) for row in rows]

    def exist(self) -> bool:
        """Whether a key was ever made: to revoke the last one must not open the server to everyone."""
        with self._database.read() as connection:
            return connection.execute(select(schema.keys.c.id).limit(1)).first() is not None

    def revoke(self, key_id: str) -> None:
        """Raises `NotFound`."""
        with self._database.write() as connection:
            done = connection.execute(
                update(schema.keys).where(schema.keys.c.id == key_id).values(revoked=time.time())
            )
        if done.rowcount == 0:
            raise NotFound(f"no key {key_id!r}; `errata keys list` shows them")


def find_key(secret: str, keys: Iterable[Key]) -> Key | None:
    """The key with this secret; all are compared, each in constant time."""
    digest, found = _digest(secret), None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
