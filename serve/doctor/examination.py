"""All checks in the order in which they are worth reading."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ..settings import Settings
from . import files, machine, network
from .finding import Check, Finding, found_by


def examine(settings: Settings, address: str | None, key: str) -> Iterator[Finding]:
    """Of this machine as a server by these settings; of the server at `address`, where one is named."""
    checks: dict[str, Check] = {
        "packages": machine.packages,
        "device": partial(machine.device, settings),
        "memory": partial(machine.memory, settings),
        "shared memory": machine.shared_memory,
        "disk": partial(machine.disk, settings),
        "model": partial(files.model, settings),
        "database": partial(files.database, settings),
        "adapters": partial(files.adapters, settings),
        "port": partial(network.port, settings),
        "keys": partial(network.keys, settings),
    }
    if address is not None:
        checks["server"] = partial(network.server, address, key)
    for name, check in checks.items():
        yield found_by(name, check)
