"""What all replicas of a deployment sign with: made when first asked for. A new one ends all that the old signed."""

from __future__ import annotations

import secrets
import time

from sqlalchemy import Connection, delete, insert, select

from . import schema
from .database import Database

NUM_BYTES = 32


class Secrets:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> bytes:
        """The same for everyone who asks."""
        with self._database.read() as connection:
            value = _value(connection, name)
        return value if value is not None else self._make(name)

    def rotate(self, name: str) -> None:
        """What was signed until now is signed by nobody."""
        with self._database.write() as connection:
            connection.execute(delete(schema.secrets).where(schema.secrets.c.name == name))
        self._make(name)

    def _make(self, name: str) -> bytes:
        with self._database.write() as connection:
            value = _value(connection, name)  # of another process that asked at the same moment
            if value is None:
                value = secrets.token_bytes(NUM_BYTES)
                row = {"name": name, "created": time.time(), "value": value.hex()}
                connection.execute(insert(schema.secrets).values(row))
        return value


def _value(connection: Connection, name: str) -> bytes | None:
    query = select(schema.secrets.c.value).where(schema.secrets.c.name == name)
    value: str | None = connection.execute(query).scalar_one_or_none()
    return None if value is None else bytes.fromhex(value)
