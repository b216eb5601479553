"""A server's processes by what they are, found by a mark in their environment: so those without parents are, too."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence

import psutil

MARK = "ERRATA_CHAOS"
ROLES: Mapping[str, str] = {
    "replica": "ServeReplica:errata",
    "engine": "serve.engine.host",
    "proxy": "ProxyActor",
    "controller": "ServeController",
    "aligner": "ServeReplica:aligner",
    "training worker": "RayTrainWorker",
    "gcs": "gcs_server",
    "raylet": "raylet/raylet",
}
"""By a part of the command line."""


def mark() -> str:
    """Every process that is started from now on carries it. Returns its value."""
    os.environ[MARK] = uuid.uuid4().hex
    return os.environ[MARK]


def marked(value: str) -> list[psutil.Process]:
    """All alive, this process aside."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _carries(process, value)
    ]


def of_role(role: str, processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if role_of(process) == role]


def role_of(process: psutil.Process) -> str | None:
    try:
        words = process.cmdline()
    except psutil.Error:
        return None
    # the raylet's own arguments hold the commands of all others, so only what stands first counts
    beginning = " ".join(words[:4]) if words and "python" in words[0] else "".join(words[:1])
    return next((role for role, part in ROLES.items() if part in beginning), None)


def is_stopped(process: psutil.Process) -> bool:
    """By SIGSTOP, and not told to go on."""
    try:
        return bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def orphans(processes: Sequence[psutil.Process], root: int) -> list[str]:
    """Those that `root` is no ancestor of, in words."""
    return [
        f"{process.pid} {role_of(process) or process.name()}"
        for process in processes
        if process.pid != root and not _descends(process, root)
    ]


def _descends(process: psutil.Process, root: int) -> bool:
    try:
        return any(parent.pid == root for parent in process.parents())
    except psutil.Error:  # it has just ended
        return True


def _carries(process: psutil.Process, value: str) -> bool:
    try:
        return process.environ().get(MARK) == value and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
