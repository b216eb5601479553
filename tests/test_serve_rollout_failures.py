"""Rollouts that meet what production has: killed processes, damaged files, a full disk. The old version stays, or the
new one holds everywhere; nothing between.
"""

from __future__ import annotations

import errno
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import fsspec
import pytest
from fake_engine import FakeEngine
from records import adapter_row
from replica_process import ReplicaProcess
from served import FAST, wait_until

from align.adapter_files import adapter_digest
from align.state import Blobs, Store
from serve.replica import Replica
from serve.rollout_settings import RolloutSettings
from serve.settings import Settings

MORTAL = RolloutSettings(poll_s=0.02, dead_after_s=1.0, prepare_s=30.0, commit_ahead_s=1.5)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/errata.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(Store(url)) as store:
        adapter_row(store)
        yield store


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(processes: ExitStack, url: str, name: str, *, holds_loads: bool = False) -> ReplicaProcess:
    return processes.enter_context(closing(ReplicaProcess(url, name, MORTAL, holds_loads=holds_loads)))


def test_a_replica_killed_while_it_prepares_leaves_the_new_version_everywhere_else(
    url: str, store: Store, processes: ExitStack
) -> None:
    survivor, victim = start(processes, url, "survivor"), start(processes, url, "victim", holds_loads=True)
    store.rollouts.propose("v0001")
    wait_until(lambda: victim.state()["is_in_load"] and survivor.state()["loaded"] == ["v0001"])
    assert store.rollouts.newest().status == "preparing"
    assert survivor.state()["live"] == "base", "nobody switches while one is waited for"
    killed = time.time()
    victim.kill()
    wait_until(lambda: survivor.state()["live"] == "v0001")
    assert (store.rollouts.newest().effective_at or 0.0) > killed
    successor = start(processes, url, "successor").state()
    assert (successor["live"], successor["loaded"], successor["is_ready"]) == ("v0001", ["v0001"], True)


@pytest.mark.parametrize(("victim", "moment"), [(0, "before it holds"), (1, "when it holds")])
def test_a_replica_killed_after_the_commit_comes_back_with_the_new_version(
    url: str, store: Store, processes: ExitStack, victim: int, moment: str
) -> None:
    replicas = [start(processes, url, name) for name in ("a", "b")]
    store.rollouts.propose("v0001")
    wait_until(lambda: store.rollouts.newest().status == "committed")
    if moment == "when it holds":
        wait_until(lambda: store.rollouts.in_force().live == "v0001")
    else:
        assert store.rollouts.in_force().live == "base"
    replicas[victim].kill()
    survivor, successor = replicas[1 - victim], start(processes, url, "successor")
    for replica in (survivor, successor):
        assert replica.state()["is_ready"]
        assert replica.state()["loaded"] == ["v0001"], "before the moment, too"
    wait_until(lambda: survivor.state()["live"] == successor.state()["live"] == "v0001")


def test_all_replicas_killed_between_commit_and_moment_start_with_the_new_version(
    url: str, store: Store, processes: ExitStack
) -> None:
    replicas = [start(processes, url, name) for name in ("a", "b")]
    store.rollouts.propose("v0001")
    wait_until(lambda: store.rollouts.newest().status == "committed")
    for replica in replicas:
        replica.kill()
    started = [start(processes, url, name) for name in ("c", "d")]
    wait_until(lambda: all(replica.state()["live"] == "v0001" for replica in started))


# --- two whole replicas with caches of their own, as on two machines


@pytest.fixture
def two_machines(tmp_path: Path) -> Iterator[list[Replica]]:
    blobs_url = f"memory://{uuid.uuid4().hex}"
    settings = Settings(state=tmp_path / "state", blobs=blobs_url, rollout=FAST)
    with ExitStack() as stack:
        replicas = []
        for name in ("a", "b"):
            replica = Replica(settings, lambda _: FakeEngine())
            stack.callback(replica.close)
            replica.blobs = Blobs(blobs_url, cache=tmp_path / name)
            replicas.append(replica)
        folder = tmp_path / "adapter"
        folder.mkdir()
        (folder / "adapter_config.json").write_text('{"r": 1}')
        (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)))
        digest = adapter_digest(folder)
        replicas[0].blobs.put_folder(folder, f"adapters/{digest}")
        adapter_row(replicas[0].store, digest=digest, blob=f"adapters/{digest}")
        yield replicas


def promote(replicas: list[Replica]) -> str:
    """What became of it: why it was abandoned, or nothing where all serve it."""
    rollouts = replicas[0].store.rollouts
    generation = rollouts.propose("v0001").generation
    wait_until(lambda: rollouts.newest().status != "preparing")
    reason = rollouts.newest().reason or ""
    expected = "base" if reason else "v0001"
    if not reason:
        wait_until(lambda: all(one.reconciler.in_force().generation == generation for one in replicas))
    assert [one.reconciler.in_force().live for one in replicas] == [expected, expected]
    assert all(one.reconciler.is_ready for one in replicas)
    return reason


def flip_a_byte(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize("damage", ["a flipped byte", "a missing file"])
def test_a_copy_that_is_damaged_on_one_machine_is_fetched_again(
    two_machines: list[Replica], tmp_path: Path, damage: str
) -> None:
    digest = two_machines[0].store.adapters.get("v1").digest
    damaged = two_machines[1].blobs.fetch_folder(f"adapters/{digest}") / "adapter_model.safetensors"
    assert damaged.is_relative_to(tmp_path / "b")
    if damage == "a missing file":
        damaged.unlink()
    else:
        damaged.write_bytes(flip_a_byte(damaged.read_bytes()))
    assert promote(two_machines) == ""
    assert adapter_digest(damaged.parent) == digest


def test_a_file_that_is_damaged_in_the_store_keeps_the_old_version_on_all(
    two_machines: list[Replica],
) -> None:
    """The other machine has a copy of its own, which was made before."""
    digest = two_machines[0].store.adapters.get("v1").digest
    two_machines[0].blobs.fetch_folder(f"adapters/{digest}")
    files, root = fsspec.core.url_to_fs(two_machines[1].settings.blobs_url)
    damaged = f"{root}/adapters/{digest}/adapter_model.safetensors"
    whole = files.cat_file(damaged)
    files.pipe_file(damaged, flip_a_byte(whole))
    reason = promote(two_machines)
    assert reason.startswith(f"replica {two_machines[1].id} cannot load it: adapters/{digest}/adapter_model")
    assert "is damaged in the store; restore it from a backup" in reason
    files.pipe_file(damaged, whole)
    assert promote(two_machines) == ""


def test_a_disk_that_is_full_on_one_machine_keeps_the_old_version_on_all(
    two_machines: list[Replica], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def write_half_on_the_full_disk(path: Path, data: bytes) -> int:
        if not path.is_relative_to(tmp_path / "b"):
            return write_bytes(path, data)
        write_bytes(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_half_on_the_full_disk)
        reason = promote(two_machines)
    assert reason.startswith(f"replica {two_machines[1].id} cannot load it: ")
    assert "No space left on device" in reason
    assert [path for path in (tmp_path / "b").rglob("*") if path.is_file()] == [], "no half file is left"
    assert promote(two_machines) == "", "once there is room, it can be asked for again"
    digest = two_machines[1].store.adapters.get("v1").digest
    assert adapter_digest(tmp_path / "b" / "adapters" / digest) == digest
