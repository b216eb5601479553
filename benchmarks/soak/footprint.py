"""What the server's processes take of the machine, by what they are: memory, open files, threads."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..chaos.processes import marked, role_of

OWN_ROLES = ("replica", "engine", "proxy", "controller", "aligner", "training worker")
ROLES = ("driver", *OWN_ROLES, "ray")
"""`driver` is `errata up` itself, `ray` all else: GCS, raylet, agents, idle workers."""


@dataclass(frozen=True)
class Footprint:
    """Of all processes of one role together."""

    processes: int = 0
    memory: int = 0
    """Bytes that no other process shares (USS): what two replicas share would be counted twice else, and a part that
    depends on who else runs on the machine."""
    files: int = 0  # open descriptors
    threads: int = 0


def footprints(mark: str) -> Mapping[str, Footprint]:
    found: dict[str, Footprint] = defaultdict(Footprint)
    for process in marked(mark):
        with suppress(psutil.NoSuchProcess):
            role, before = _role(process), found[_role(process)]
            found[role] = Footprint(
                before.processes + 1,
                before.memory + process.memory_full_info().uss,
                before.files + process.num_fds(),
                before.threads + process.num_threads(),
            )
    return dict(found)


def log_folder(mark: str) -> Path:
    """Where Ray keeps its session's logs, as one of its processes was told."""
    for process in marked(mark):
        with suppress(psutil.NoSuchProcess):
            for word in process.cmdline():
                name, _, value = word.partition("=")
                if name.replace("_", "-") == "--session-dir":
                    return Path(value) / "logs"
    raise LookupError("no process of Ray's names its session's folder")


def _role(process: psutil.Process) -> str:
    if process.ppid() == os.getpid():
        return "driver"
    role = role_of(process)
    return role if role in OWN_ROLES else "ray"
