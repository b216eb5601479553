"""A Ray cluster whose nodes are machines of a network, with Errata on it: a head, and workers with a replica each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deployed import ENVIRONMENT
from network import Machine, Network

from serve.settings import Settings

HEAD = Path(__file__).parent / "node_head.py"
START_S = 600.0
STOP_S = 30.0
# Each machine has all ports for itself. Where they are not given, a node waits 15 s for its agents to choose them, and
# a busy machine takes longer.
PORTS = {
    "dashboard-agent-grpc-port": 52365,
    "dashboard-agent-listen-port": 52366,
    "runtime-env-agent-port": 52367,
    "metrics-export-port": 52368,
}


class RayNodes:
    def __init__(self, network: Network, settings: Settings, folder: Path, env: dict[str, str]) -> None:
        self.network, self.settings = network, settings
        self._folder, self._gcs = folder, ""
        self._temp = Path(tempfile.mkdtemp(prefix="er-", dir="/tmp"))  # sockets are there: no long path
        no_proxy = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        # these machines have one name together, by which Gloo would find each of them at 127.0.0.1
        own = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}
        self._env = no_proxy | ENVIRONMENT | env | own
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """The head, then one worker after the other; returns when the server answers."""
        head = self.network.machines[0]
        command = [sys.executable, HEAD, head.address, self._temp, str(len(self.network.machines))]
        self._start(head, [*command, self.settings.model_dump_json()])
        self._gcs = self._said(head, "joins").split()[1]
        self._said(head, "up", self.start_dead_workers)

    def start_dead_workers(self) -> None:
        """As whoever looks after machines does it."""
        for machine in self.network.machines[1:]:
            if self.has_ended(machine):
                self.start_worker(machine)

    def start_worker(self, machine: Machine, num_cpus: int = 2) -> None:
        """On an empty disk, whatever was there before."""
        self.kill(machine)
        ports = [f"--{name}={port}" for name, port in PORTS.items()]
        ray = Path(sys.executable).parent / "ray"
        command = [ray, "start", "--block", f"--address={self._gcs}", f"--node-ip-address={machine.address}"]
        self._start(machine, [*command, f"--num-cpus={num_cpus}", "--object-store-memory=134217728", *ports])

    def has_ended(self, machine: Machine) -> bool:
        process = self._processes.get(machine.name)
        return process is None or process.poll() is not None

    def kill(self, machine: Machine) -> None:
        """All of its processes at once, as when the power fails."""
        if (process := self._processes.pop(machine.name, None)) is not None:
            machine.kill_all()
            process.wait(STOP_S)

    def stop(self) -> None:
        head = self.network.machines[0]
        if (process := self._processes.get(head.name)) is not None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        for machine in self.network.machines:
            self.kill(machine)
        self._temp.rmdir()

    def _start(self, machine: Machine, command: list[str | Path]) -> None:
        with self._log(machine).open("ab") as log:
            self._processes[machine.name] = machine.start(
                command, self._temp, self._env, log, cwd=self._folder
            )

    def _log(self, machine: Machine) -> Path:
        return self._folder / f"{machine.name}.log"

    def _said(self, machine: Machine, word: str, meanwhile: Callable[[], None] = lambda: None) -> str:
        """The line of its output that begins so."""
        deadline = time.monotonic() + START_S
        while True:
            lines = self._log(machine).read_text().splitlines()
            for line in lines:
                if line.split(" ")[0] == word:
                    return line
            meanwhile()
            assert not self.has_ended(machine), "\n".join(lines)
            assert time.monotonic() < deadline, "\n".join(lines)
            time.sleep(0.2)


@contextmanager
def ray_nodes(network: Network, settings: Settings, folder: Path, env: dict[str, str]) -> Iterator[RayNodes]:
    nodes = RayNodes(network, settings, folder, env)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()
