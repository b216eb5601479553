"""Adapter versions: a name that is never reused for files that never change."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update

from ..errors import Conflict, NotFound
from . import schema
from .database import Database
from .proposals import leave_proposal, settle_proposals
from .rollouts import named_versions
from .rows import from_row, to_row
from .runs import Run, update_run
from .taint import check_run


@dataclass(frozen=True)
class Adapter:
    version: str
    created: float
    status: str  # admitted | refused | held | retired
    digest: str
    run_id: str
    blob: str
    report: dict[str, Any]
    tainted: float | None = None  # since when something that its manifest holds is erased

    @property
    def may_serve(self) -> bool:
        return self.status == "admitted" and self.tainted is None


def version_name(number: int) -> str:
    """Of fixed width, so that no name is the beginning of another: 12 -> `v0012`."""
    return f"v{number:04d}"


def version_number(name: str) -> int:
    """Of a name as people write it, `v12` or `v0012`. Raises `NotFound` for anything else."""
    if not re.fullmatch(r"v\d{1,9}", name):
        raise NotFound(f"{name!r} is no adapter version; versions look like v0012")
    return int(name[1:])


class Adapters:
    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(
        self,
        run: Run,
        *,
        status: str,
        digest: str,
        blob: str,
        report: dict[str, Any],
        reason: str | None,
        is_to_be_proposed: bool = False,
    ) -> Adapter:
        """The next version, and with it the end of the run that made it: both, or neither.

        An admitted one that `is_to_be_proposed` waits in `Proposals` until somebody does so.

        Raises `Conflict` where the run has ended already, or has learned from what was erased or rejected meanwhile:
        what was given up may not serve after all. Raises `TakenOver` where another holder does the run.
        """
        table = schema.adapters
        with self._database.write() as connection:
            number = int(connection.execute(select(func.count()).select_from(table)).scalar_one()) + 1
            adapter = Adapter(version_name(number), time.time(), status, digest, run.id, blob, report)
            connection.execute(insert(table).values(to_row(adapter)))
            check_run(connection, run.id)
            ending = {"status": status, "adapter": adapter.version, "report": report, "reason": reason}
            if not update_run(connection, run, ending):
                raise Conflict(f"{run.id} ended before its adapter was published; ask for another run")
            if status == "admitted":
                settle_proposals(connection)  # of an older one, which this one is better than
                if is_to_be_proposed:
                    leave_proposal(connection, adapter.version)
        return adapter

    def get(self, version: str) -> Adapter:
        """Raises `NotFound`."""
        name = version_name(version_number(version))
        with self._database.read() as connection:
            row = connection.execute(
                select(schema.adapters).where(schema.adapters.c.version == name)
            ).one_or_none()
        if row is None:
            raise NotFound(f"no adapter {version!r}; GET /v1/adapters lists them")
        return from_row(Adapter, row)

    def all(self) -> list[Adapter]:
        """Newest first."""
        query = select(schema.adapters).order_by(schema.adapters.c.version.desc())
        with self._database.read() as connection:
            return [from_row(Adapter, row) for row in connection.execute(query)]

    def count_by_status(self) -> dict[str, int]:
        table = schema.adapters
        query = select(table.c.status, func.count()).group_by(table.c.status)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def using(self, blob: str) -> list[Adapter]:
        """Those that still need these files: equal runs make equal ones."""
        return [adapter for adapter in self.all() if adapter.blob == blob and adapter.status != "retired"]

    def admit(self, version: str) -> Adapter:
        """A person's word on one that the gate held for review. Raises `NotFound`, `Conflict` for any other."""
        adapter = self.get(version)
        table = schema.adapters
        with self._database.write() as connection:
            done = connection.execute(
                update(table)
                .where(table.c.version == adapter.version, table.c.status == "held")
                .values(status="admitted")
            )
        if done.rowcount == 0:
            raise Conflict(
                f"{adapter.version} is {adapter.status}; only one that is held for review can be admitted"
            )
        return self.get(version)

    def to_retire(self) -> list[Adapter]:
        """The tainted ones that are not retired yet."""
        table = schema.adapters
        query = select(table).where(table.c.tainted.is_not(None), table.c.status != "retired")
        with self._database.read() as connection:
            return [from_row(Adapter, row) for row in connection.execute(query)]

    def retire(self, version: str) -> Adapter:
        """It may be shown, never served again. Raises `NotFound`, and `Conflict` while a rollout names it."""
        adapter = self.get(version)
        table = schema.adapters
        with self._database.write() as connection:
            if adapter.version in named_versions(connection):
                raise Conflict(f"{adapter.version} is being served; roll back or promote another one first")
            connection.execute(
                update(table).where(table.c.version == adapter.version).values(status="retired")
            )
        return self.get(version)
