"""A server whose Ray has ended ends as well, and leaves nothing behind. Ray is played by a script with its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from served import wait_until

from serve.ray_processes import RayProcesses

SERVER = """
import signal, subprocess, sys, time
from serve.errors import RayEnded
from serve.launch import end_by_exception_on_sigterm
from serve.ray_processes import RayProcesses

raylet = subprocess.Popen([sys.argv[1]], stdout=subprocess.PIPE, text=True)
worker = raylet.stdout.readline().strip()
processes = RayProcesses()
end_by_exception_on_sigterm()
try:
    print(raylet.pid, worker, flush=True)
    time.sleep(60)  # as one that waits for Ray
except SystemExit:
    pass
processes.stop()
try:
    processes.check()
    print("all is well")
except RayEnded as error:
    print(error)
"""


@pytest.fixture
def server(tmp_path: Path) -> subprocess.Popen[str]:
    raylet = tmp_path / "raylet"
    raylet.write_text("#!/bin/sh\nsleep 60 &\necho $!\nwait\n")
    raylet.chmod(0o755)
    return subprocess.Popen([sys.executable, "-c", SERVER, str(raylet)], stdout=subprocess.PIPE, text=True)


def started(server: subprocess.Popen[str]) -> list[psutil.Process]:
    assert server.stdout is not None
    return [psutil.Process(int(pid)) for pid in server.stdout.readline().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a script's process has its interpreter's name")
def test_a_server_without_its_raylet_ends_and_kills_whom_that_left_behind(
    server: subprocess.Popen[str],
) -> None:
    raylet, worker = started(server)
    raylet.kill()
    told, _ = server.communicate(timeout=60)
    assert "Ray's raylet has ended" in told
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_a_child_that_ends_while_it_is_looked_at_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["sleep", "60"])
    ended = psutil.Process(child.pid)
    child.kill()
    child.wait()
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [ended])
    processes = RayProcesses()
    processes.stop()
    processes.check()


def test_a_server_that_is_told_to_end_while_ray_runs_leaves_that_to_ray(
    server: subprocess.Popen[str],
) -> None:
    raylet, worker = started(server)
    server.terminate()
    told, _ = server.communicate(timeout=60)
    assert told.strip() == "all is well"
    for process in (worker, raylet):
        process.kill()
