"""A replica's part in rollouts in a process of its own, that can really be killed: reconciler, store, fake engine.

Reads commands from its standard input, one a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fake_engine import FakeEngine

from align.state import Store
from serve.reconciler import Reconciler
from serve.rollout_settings import RolloutSettings


class ReplicaProcess:
    def __init__(
        self, database_url: str, name: str, settings: RolloutSettings, *, holds_loads: bool = False
    ) -> None:
        """Returns when it is ready."""
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, database_url, name, settings.model_dump_json(), str(int(holds_loads))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._answer() == {"ready": name}

    def state(self) -> dict[str, Any]:
        return self._ask("state")

    def go_on(self) -> None:
        """End a load that is held."""
        self._ask("go on")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def main(database_url: str, name: str, settings: str, holds_loads: str) -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # the log is no answer
    engine, store = FakeEngine(), Store(database_url)
    if holds_loads == "1":
        engine.hold_loads()
    reconciler = Reconciler(
        name,
        "",
        engine,
        store,
        lambda adapter: Path(adapter.blob),
        RolloutSettings.model_validate_json(settings),
    )
    reconciler.start()

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    answer({"ready": name})
    for command in sys.stdin:
        if command == "go on\n":
            engine.go_on()
        answer(
            {
                "live": reconciler.in_force().live,
                "loaded": sorted(engine.loaded),
                "is_ready": reconciler.is_ready,
                "is_in_load": engine.is_in_load.is_set(),
            }
        )
    engine.go_on()
    reconciler.stop()
    engine.close()
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
