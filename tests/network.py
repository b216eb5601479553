"""Several machines on this one: network namespaces behind a bridge, each with an address and a cable to be pulled.

They share the processes' ids and the disk, but for a folder that is named, and nothing of the network. For root on
Linux with iproute2; where this cannot be had, tests say so and are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest


class Machine:
    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address

    def start(
        self, command: Sequence[str | Path], own: Path, env: Mapping[str, str], log: IO[bytes], **options: Any
    ) -> subprocess.Popen[bytes]:
        """A process of this machine's, in a group of its own; `own` is a folder that it finds empty."""
        mounted = ["sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', own, *command]
        inside = ["ip", "netns", "exec", self.name, *mounted]
        return subprocess.Popen(inside, env=env, stdout=log, stderr=log, start_new_session=True, **options)

    def kill_all(self) -> None:
        """Every process of this machine's, as when the power fails."""
        found = subprocess.run(["ip", "netns", "pids", self.name], check=True, capture_output=True, text=True)
        for pid in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def has(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/ns/net").samefile(f"/run/netns/{self.name}")
        except FileNotFoundError:
            return False

    def cut_off(self) -> None:
        """Pull its cable: what is sent to it or by it is lost, and nobody is told."""
        _ip("link", "set", self.name, "down")

    def connect(self) -> None:
        _ip("link", "set", self.name, "up")


class Network:
    def __init__(self, address: str, machines: Sequence[Machine]) -> None:
        self.address, self.machines = address, machines
        """The address of this process's side, the bridge's."""


@contextmanager
def network(num_machines: int) -> Iterator[Network]:
    """Skips the test where it cannot be had."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("machines of their own need root and iproute2; on Debian: apt-get install iproute2")
    prefix, subnet = f"er{os.getpid()}", f"10.213.{os.getpid() % 256}"
    with ExitStack() as stack:
        try:
            _ip("link", "add", prefix, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no bridge between network namespaces can be had here: {error.stderr.strip()}")
        stack.callback(_ip, "link", "delete", prefix)
        _ip("address", "add", f"{subnet}.1/24", "dev", prefix)
        _ip("link", "set", prefix, "up")
        machines = []
        for number in range(num_machines):
            machine = Machine(f"{prefix}n{number}", f"{subnet}.{10 + number}")
            _ip("netns", "add", machine.name)
            stack.callback(_ip, "netns", "delete", machine.name)
            _plug_in(machine, prefix)
            machines.append(machine)
        yield Network(f"{subnet}.1", machines)


def _plug_in(machine: Machine, bridge: str) -> None:
    name = machine.name
    _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", name, "master", bridge)
    _ip("link", "set", name, "up")
    _ip("-n", name, "address", "add", f"{machine.address}/24", "dev", "eth0")
    for inside in ("lo", "eth0"):
        _ip("-n", name, "link", "set", inside, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
