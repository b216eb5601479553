"""Two aligners on two machines, of which one is cut off from the database in the middle of a run: the other ends it.

For real, but for the length of the lease and for the first one's training, whose steps wait a second each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from corrections import corrections
from network import Machine, Network, network
from postgresql_server import postgresql_server
from records import corrected
from served import wait_until
from tiny_models import tiny_llava

from align.config import GateConfig, LoraSettings, TrainingConfig
from align.state import Blobs, Store
from serve.settings import AlignmentSettings, Settings

ALIGNER = """
import sys, time
from align import alignment
from serve.aligner import Aligner
from serve.settings import Settings

alignment._reporter = lambda store, run: lambda metrics: (print("a step", flush=True), time.sleep(float(sys.argv[2])))
Aligner(Settings.model_validate_json(sys.argv[1]), lease_s=6.0).start()
time.sleep(3600)
"""


@pytest.fixture
def two_machines() -> Iterator[Network]:
    with network(2) as two:
        yield two


def test_a_run_whose_aligner_is_cut_off_is_ended_by_another_and_the_first_disturbs_nothing(
    two_machines: Network, tmp_path: Path
) -> None:
    base = tiny_llava(tmp_path / "base")
    with ExitStack() as stack:
        server = stack.enter_context(postgresql_server(address=two_machines.address))
        alignment = AlignmentSettings(
            training=TrainingConfig(
                lora=LoraSettings(rank=4), num_epochs=100, batch_size=4, checkpoint_every=50, num_workers=0
            ),
            gate=GateConfig(max_new_tokens=4, num_resamples=100),
        )
        settings = Settings(
            model=str(base),
            database=server.new_database(),
            blobs=str(tmp_path / "blobs"),
            alignment=alignment,
        )
        store = stack.enter_context(closing(Store(settings.database_url)))
        corrected(store, Blobs(settings.blobs_url, cache=tmp_path / "cache"), corrections(base, 6))
        run = store.runs.request("request")

        def start(machine: Machine, step_s: float) -> subprocess.Popen[bytes]:
            own = settings.model_copy(update={"state": tmp_path / machine.name})
            return stack.enter_context(aligner(machine, own, tmp_path, step_s))

        first, second = two_machines.machines
        start(first, step_s=1.0)
        wait_until(lambda: "a step" in said(first, tmp_path), 300)
        successor = start(second, step_s=0.0)
        wait_until(lambda: "held by another process" in said(second, tmp_path), 300)
        begun = store.runs.get(run.id)
        assert (begun.status, begun.attempts) == ("running", 1)

        first.cut_off()
        wait_until(lambda: store.runs.get(run.id).is_ended, 300)
        ended = store.runs.get(run.id)
        assert ended.adapter == "v0001", ended.reason
        assert (ended.attempts, "run started" in said(second, tmp_path)) == (2, True)

        first.connect()
        wait_until(lambda: "held by another process" in said(first, tmp_path), 300)
        assert store.runs.get(run.id) == ended
        assert [adapter.version for adapter in store.adapters.all()] == ["v0001"]

        successor.kill()
        again = store.runs.request("request")
        wait_until(lambda: store.runs.get(again.id).is_ended, 300)
        assert store.runs.get(again.id).adapter == "v0002", store.runs.get(again.id).reason


@contextmanager
def aligner(
    machine: Machine, settings: Settings, folder: Path, step_s: float
) -> Iterator[subprocess.Popen[bytes]]:
    settings.state.mkdir()
    paths = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    command = [sys.executable, "-c", ALIGNER, settings.model_dump_json(), str(step_s)]
    with log_of(machine, folder).open("wb") as log:
        process = machine.start(command, settings.state, {**os.environ, "PYTHONPATH": paths}, log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said(machine: Machine, folder: Path) -> str:
    return log_of(machine, folder).read_text()


def log_of(machine: Machine, folder: Path) -> Path:
    return folder / f"{machine.name}.log"
