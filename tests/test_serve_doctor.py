"""`errata doctor`: what is wrong with a machine, its files or its settings is found, and what to do is said."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from command_line import Errata, command_line, document
from fsspec import filesystem
from records import adapter_row
from served import listening, serving

from align.adapter_files import CONFIG_FILE, WEIGHTS_FILE, adapter_digest
from align.scenes import MODEL_PATH
from align.state import Blobs, Store
from align.state.migrations import MIGRATIONS
from serve.doctor import files, machine, network
from serve.doctor.finding import found_by
from serve.engine.config import EngineConfig
from serve.settings import Settings


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state", port=free_port())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_nothing_is_wrong_with_a_machine_on_which_the_tests_run(errata: Errata, settings: Settings) -> None:
    words = ("doctor", "--state", settings.state, "--port", settings.port)
    found = {one["name"]: one for one in document(errata(*words, "--json"))["data"]}
    assert list(found) == [
        *(
            "packages",
            "device",
            "memory",
            "shared memory",
            "disk",
            "model",
            "database",
            "adapters",
            "port",
            "keys",
        )
    ]
    assert [name for name, one in found.items() if one["standing"] == "problem"] == []
    assert f"torch {torch.__version__}" in found["packages"]["found"]
    assert not settings.state.exists(), "it changes nothing"
    _, shown, _ = errata(*words)
    assert "model: errata-scenes" in shown


def test_a_problem_is_seen_in_the_status_and_hides_no_other_check(errata: Errata, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "errata.db").write_text("no database" * 100)
    words = ("--model", tmp_path / "nowhere", "--host", "0.0.0.0", "--state", state)
    found = {one["name"]: one for one in document(errata("doctor", *words, "--json"), 1)["data"]}
    assert found["database"]["found"].endswith("file is not a database")
    assert found["model"]["advice"] == "name another with --model"
    assert found["port"]["standing"] == "good"
    assert {name for name, one in found.items() if one["standing"] == "problem"} == {
        "database",
        "model",
        "keys",
    }


def test_a_check_that_breaks_is_a_finding() -> None:
    def broken() -> Any:
        raise KeyError("x")

    found = found_by("device", broken)
    assert (found.name, found.standing) == ("device", "problem")
    assert "KeyError" in found.found


# --- the machine


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["torch>=999", "no-such-package>=1", 'mypy>=999; extra == "dev"', "openai"]
    monkeypatch.setattr(machine.metadata, "requires", lambda _: needs)
    found = machine.packages()
    assert found.standing == "problem"
    assert f"torch is {torch.__version__}, and >=999 is needed" in found.found
    assert "no-such-package is missing" in found.found
    assert "mypy" not in found.found
    assert found.advice.endswith("make setup")


@pytest.mark.parametrize(("free", "standing"), [(2**30, "warning"), (2**40, "good")])
def test_little_memory_or_disk_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free: int, standing: str
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert machine.memory(settings).standing == standing
    assert machine.disk(settings).standing == standing
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free // 2**10))
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    assert machine.shared_memory().standing == standing


def test_a_gpu_that_torch_cannot_use_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "_has_nvidia_driver", lambda: True)
    found = machine.device(settings)
    assert (found.standing, "TORCH_INDEX=" in found.advice) == ("warning", True)
    monkeypatch.setattr(machine, "_has_nvidia_driver", lambda: False)
    assert machine.device(settings).standing == "good"
    asked = settings.model_copy(update={"engine": EngineConfig(device="cuda")})
    assert machine.device(asked).standing == "problem"


# --- files


def test_a_model_without_some_of_its_files_is_named(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL_PATH, folder)
    of = settings.model_copy(update={"model": str(folder)})
    assert files.model(of).standing == "good"
    (weights,) = folder.glob("*.safetensors")
    weights.rename(folder / "model-00001-of-00002.safetensors")
    parts = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(parts))
    assert "lacks model-00002-of-00002.safetensors" in files.model(of).found
    (folder / "config.json").unlink()
    assert "cannot read the model" in found_by("model", lambda: files.model(of)).found


def test_a_model_that_is_to_be_downloaded_is_no_problem(settings: Settings) -> None:
    found = files.model(settings.model_copy(update={"model": "nobody/has-this-model"}))
    assert (found.standing, "hf download nobody/has-this-model" in found.advice) == ("warning", True)


def test_a_database_is_looked_at_and_left_as_it_is(settings: Settings) -> None:
    assert "the first start makes it" in files.database(settings).found
    assert not settings.state.exists()
    Store(settings.database_url).close()
    assert files.database(settings).standing == "good"
    file = settings.state / "errata.db"
    for version, standing in ((1, "warning"), (len(MIGRATIONS) + 1, "problem")):
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE schema_version SET version = ?", (version,))
        connection.close()
        assert files.database(settings).standing == standing
        connection = sqlite3.connect(file)
        assert connection.execute("SELECT version FROM schema_version").fetchone() == (version,)
        connection.close()


def test_files_of_the_adapter_that_serves_are_compared_with_what_was_published(
    settings: Settings, tmp_path: Path
) -> None:
    """In the store: what is damaged in this machine's own copies, replicas mend by themselves."""
    settings = settings.model_copy(update={"blobs": f"memory://{uuid.uuid4().hex}"})
    assert files.adapters(settings).found == "none that could be looked at"
    store, blobs = Store(settings.database_url), Blobs(settings.blobs_url, cache=settings.state / "cache")
    assert files.adapters(settings).found == "the base model serves"
    made = tmp_path / "made"
    made.mkdir()
    (made / CONFIG_FILE).write_text("{}")
    (made / WEIGHTS_FILE).write_bytes(b"weights")
    blobs.put_folder(made, "adapters/a")
    adapter_row(store, digest=adapter_digest(made), blob="adapters/a")
    generation = store.rollouts.propose("v0001").generation
    store.rollouts.commit(generation, -1.0)
    store.close()
    assert files.adapters(settings).found == "v0001 as published"
    (blobs.fetch_folder("adapters/a") / WEIGHTS_FILE).write_bytes(b"other weights")
    assert files.adapters(settings).found == "v0001 as published"

    published = f"{settings.blobs_url.removeprefix('memory:/')}/adapters/a/{WEIGHTS_FILE}"
    memory = filesystem("memory")
    memory.pipe_file(published, b"other weights")
    damaged = found_by("adapters", lambda: files.adapters(settings))
    assert (damaged.standing, "restore it from a backup" in damaged.found) == ("problem", True)
    memory.rm_file(published)
    assert found_by("adapters", lambda: files.adapters(settings)).standing == "problem"


# --- the network


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "server") as served, listening(served) as address:
        served.store.keys.create("ada", ["chat"])
        yield address


def at(settings: Settings, address: str) -> Settings:
    return settings.model_copy(update={"port": int(address.rpartition(":")[2])})


def test_a_port_is_free_an_erratas_own_or_another_program_s(settings: Settings, address: str) -> None:
    assert network.port(settings).found.endswith("is free")
    assert "an Errata server answers" in network.port(at(settings, address)).found
    with socket.create_server(("127.0.0.1", settings.port)) as other:
        other.listen(0)
        found = found_by("port", lambda: network.port(settings))
    assert (found.standing, "choose another --port" in found.found) == ("problem", True)


def test_beyond_loopback_a_key_is_needed(settings: Settings) -> None:
    open_to_all = settings.model_copy(update={"host": "0.0.0.0"})
    assert network.keys(settings).standing == "good"
    assert "errata keys create --state" in network.keys(open_to_all).advice
    store = Store(settings.database_url)
    store.keys.create("ada", ["chat"])
    store.close()
    assert network.keys(open_to_all).found == "1 in use"
    with sqlite3.connect(settings.state / "errata.db") as connection:
        connection.execute("UPDATE keys SET revoked = 1.0")
    connection.close()
    assert network.keys(open_to_all).standing == "problem"


def test_a_server_elsewhere_is_asked_with_the_key(errata: Errata, address: str, settings: Settings) -> None:
    assert network.server(f"{address}/v1", "none").advice == "set ERRATA_API_KEY or --key"
    assert "correct --url" in network.server(f"http://127.0.0.1:{settings.port}/v1", "none").advice
    words = ("doctor", "--state", settings.state, "--port", settings.port, "--url", address, "--json")
    assert document(errata(*words), 1)["data"][-1]["name"] == "server"
