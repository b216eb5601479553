"""A PostgreSQL server of the tests' own: a cluster in a temporary folder, on a free port, gone at the end.

Nothing of a server that the machine may run is touched. Where binaries are missing, tests say so and are skipped.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

DEBIAN = Path("/usr/lib/postgresql")
START_S = 30.0
MISSING = "PostgreSQL's initdb is not here; on Debian, as root: apt-get install postgresql"


class PostgreSQLServer:
    """`command` starts it as `user`, with its log and its data in `folder`."""

    def __init__(self, address: str, port: int, command: list[str], user: str | None, folder: Path) -> None:
        self.address, self.port, self._number = address, port, 0
        self._command, self._user, self._folder = command, user, folder
        self._env = dict(os.environ)  # of each start: a mark of who stops it is not for this server
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers."""
        log = self._folder / "log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, user=self._user, cwd=self._folder, env=self._env, stdout=out, stderr=out
            )
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Its fast shutdown: it ends the connections that are left."""
        self._end(signal.SIGINT)

    def stop_at_once(self) -> None:
        """Its immediate shutdown: nothing more is written, and the next start begins with its log."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_S)

    def new_database(self) -> str:
        """The URL of a blank one."""
        self._number += 1
        name = f"errata_{self._number}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return f"postgresql://errata@{self.address}:{self.port}/{name}"

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def crash(self) -> None:
        """What was not on its disk is lost: it starts anew from its log, as after a crash of the machine."""
        for child in psutil.Process(self.pid).children():
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, statement: str) -> None:
        with psycopg.connect(
            host=self.address, port=self.port, user="errata", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())


@contextmanager
def postgresql_server(*, is_durable: bool = False, address: str = "127.0.0.1") -> Iterator[PostgreSQLServer]:
    """Skips the test that asks where the binaries are missing. One that is durable waits for the disk as in service.

    It trusts who comes from the network of its address.
    """
    binaries = _binaries()
    if binaries is None:
        pytest.skip(MISSING)
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="errata-postgresql-", dir="/tmp"))
    if user is not None:
        shutil.chown(folder, user)
    try:
        data = folder / "data"
        initdb = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "errata",
            "--auth=trust",
            "--locale=C",
            "-E",
            "UTF8",
            "-N",
        ]
        subprocess.run(initdb, user=user, cwd=folder, check=True, capture_output=True)
        with (data / "pg_hba.conf").open("a") as trusted:
            trusted.write(f"host all all {address}/24 trust\n")
        port = _free_port(address)
        settings = {"listen_addresses": address, "unix_socket_directories": "", "max_connections": "200"}
        if not is_durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = PostgreSQLServer(address, port, command, user, folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def _user() -> str | None:
    """Whom to run it as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
