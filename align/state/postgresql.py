"""PostgreSQL as Errata needs it: who decides from what is there writes alone, who only adds writes beside others.

Its locks are advisory ones of the transaction, so they end with it, however that ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, text

from ..errors import StateError
from .nul import from_json, to_json

LOCKS = 0x455252  # "ERR": apart from the locks of others in the same database
WRITERS, ARRIVALS = 1, 2

SESSION = (
    "SET application_name = 'errata'",
    "SET lock_timeout = '30s'",
    # a process that stands still must not keep all others from writing
    "SET idle_in_transaction_session_timeout = '120s'",
    # nor one whose machine is cut off: the server counts it as gone after 20 seconds
    "SET tcp_keepalives_idle = '10s'",
    "SET tcp_keepalives_interval = '5s'",
    "SET tcp_keepalives_count = 2",
    # whatever the server's default: a commit that returns is on disk
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
)

CUT_OFF = {
    "tcp_user_timeout": 20_000,  # milliseconds
    "keepalives_idle": 10,  # seconds, as those below
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""A server that is silent for 20 seconds counts as away: by default a statement waits a quarter of an hour for it."""


class PostgreSQL:
    def __init__(self, url: URL) -> None:
        self.name = url.render_as_string(hide_password=True)
        self._turn = threading.Lock()  # of a process, one connection at a time waits to write alone
        try:
            self.engine = create_engine(
                url.set(drivername="postgresql+psycopg"),
                connect_args={"connect_timeout": 10, **CUT_OFF},
                hide_parameters=True,  # people's words: errors are logged
                pool_pre_ping=True,  # the server may have been started anew
                json_serializer=to_json,
                json_deserializer=from_json,
            )
        except ModuleNotFoundError as error:
            raise StateError(
                "PostgreSQL needs a driver that is not installed: pip install 'errata-server[postgresql]'"
            ) from error
        event.listen(self.engine, "connect", _configure)
        # all that one transaction reads, it sees as of one moment
        self._reading = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def prepare(self) -> None:
        """Raises `StateError` on a database that cannot hold every text."""
        with self.read() as connection:
            encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            raise StateError(f"{self.name} keeps texts as {encoding}; create a database WITH ENCODING 'UTF8'")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._turn, self.engine.begin() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCKS}, {WRITERS})"))
            yield connection

    @contextmanager
    def write_beside(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock_shared({LOCKS}, {WRITERS})"))
            yield connection

    def empty_log(self) -> None:
        """Nothing: what is left on its disk is the server's own, until it vacuums and recycles its log."""


def in_order_of_arrival(connection: Connection) -> None:
    """Until this transaction ends, no other one that writes beside it gives out numbers of arrival.

    With SQLite there is no such other one.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCKS}, {ARRIVALS})"))


def _configure(connection: Any, _record: Any) -> None:
    connection.autocommit = True  # so that the settings hold whatever becomes of the first transaction
    for statement in SESSION:
        connection.execute(statement)
    connection.autocommit = False
