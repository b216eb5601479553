"""Settings: a typo fails, each is documented, and a server that cannot start says why before it tries."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from align.state import Store
from serve import launch
from serve.errors import SettingsError
from serve.settings import Settings, check_shared


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def test_every_setting_is_documented_where_it_stands() -> None:
    fields = dict(sections(Settings))
    assert "rollout.poll_s" in fields
    assert "alignment.training.objective.beta" in fields
    assert [name for name, field in fields.items() if not field.description] == []


def test_every_setting_has_a_default() -> None:
    assert [name for name, field in sections(Settings) if field.is_required()] == []


@pytest.mark.parametrize(
    "values",
    [
        {"prot": 8000},
        {"images": {"max_byte": 1}},
        {"rollout": {"poll": 1}},
        {"engine": {"max_num_sequence": 1}},
        {"corrections": {"ratio": 1}},
        {"alignment": {"min_correction": 1}},
        {"alignment": {"training": {"learning_rates": 1}}},
    ],
)
def test_a_typo_fails(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Settings.model_validate(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": 0}, "greater than 0"),
        ({"port": 70000}, "less than 65536"),
        ({"num_replicas": 0}, "greater than 0"),
        ({"model_name": "a@b"}, "match pattern"),
        ({"model_name": ""}, "match pattern"),
        (
            {"rollout": {"commit_ahead_s": 0.3}},
            "at least four polls, or each answer would wait for a reading",
        ),
        ({"rollout": {"dead_after_s": 0.15}}, "at least two polls, or live replicas would count as dead"),
        ({"engine": {"num_adapter_slots": 2}}, "num_adapter_slots must be at least 3"),
    ],
)
def test_what_cannot_work_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate(values)


@pytest.mark.parametrize(("training", "num_workers"), [({"learning_rate": 1e-4}, 1), ({"num_workers": 0}, 0)])
def test_training_stays_in_a_worker_where_other_fields_of_it_are_set(
    training: dict[str, Any], num_workers: int
) -> None:
    settings = Settings.model_validate({"alignment": {"training": training}})
    assert settings.alignment.training.num_workers == num_workers


def test_settings_are_not_written_again() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]  # that it is refused is the point


def test_settings_survive_the_way_to_another_process(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, port=8001, alignment={"min_corrections": 7})
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, is_loopback: bool) -> None:
    assert Settings(host=host).is_loopback is is_loopback


# --- what is checked before anything is started


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llava"}))
    return str(folder)


def test_what_can_start_passes(tmp_path: Path, port: int, model: str) -> None:
    settings = Settings(state=tmp_path / "new/state", port=port, model=model)
    launch.check(settings)
    assert settings.state.is_dir()


def test_a_host_that_others_reach_needs_a_key(tmp_path: Path, port: int, model: str) -> None:
    settings = Settings(state=tmp_path, host="0.0.0.0", port=port, model=model)
    with pytest.raises(SettingsError, match=r"there is no key: make one with `errata keys create --state "):
        launch.check(settings)
    store = Store(settings.database_url)
    key, _ = store.keys.create("ada", ["chat"])
    launch.check(settings)
    store.keys.revoke(key.id)
    store.close()
    with pytest.raises(SettingsError, match="there is no key"):
        launch.check(settings)


def test_a_port_in_use_is_named(tmp_path: Path, model: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            SettingsError, match=f"cannot listen on 127.0.0.1:{port}: .*; choose another --port"
        ):
            launch.check(Settings(state=tmp_path, port=port, model=model))


def test_a_host_that_is_no_address_of_this_machine_is_named(tmp_path: Path, port: int, model: str) -> None:
    settings = Settings(state=tmp_path, host="192.0.2.1", port=port, model=model)
    store = Store(settings.database_url)
    store.keys.create("ada", ["chat"])
    store.close()
    with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1"):
        launch.check(settings)


def test_a_state_that_cannot_be_a_folder_is_named(tmp_path: Path, port: int, model: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot use .*file.* for the state: "):
        launch.check(Settings(state=tmp_path / "file/state", port=port, model=model))


def test_a_model_that_is_not_there_is_named(tmp_path: Path, port: int) -> None:
    missing = str(tmp_path / "no model")
    with pytest.raises(SettingsError, match=r"cannot read the model '.*no model'") as caught:
        launch.check(Settings(state=tmp_path, port=port, model=missing))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "{}", '{"model_type": "no such type"}'])
def test_a_folder_that_holds_no_model_is_named(tmp_path: Path, port: int, model: str, content: str) -> None:
    (Path(model) / "config.json").write_text(content)
    with pytest.raises(SettingsError, match="cannot read the model") as caught:
        launch.check(Settings(state=tmp_path, port=port, model=model))
    assert "\n" not in str(caught.value)


def test_a_model_that_sees_nothing_is_refused(tmp_path: Path, port: int, model: str) -> None:
    (Path(model) / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(SettingsError, match="is a llama, not a vision-language model"):
        launch.check(Settings(state=tmp_path, port=port, model=model))


def test_one_state_has_one_server(tmp_path: Path) -> None:
    refused = pytest.raises(
        SettingsError, match=r"another server uses .*; stop it, or choose another --state"
    )
    with launch.alone(tmp_path), refused:
        launch.alone(tmp_path).__enter__()
    launch.alone(tmp_path).__enter__()


def test_relative_paths_hold_for_processes_in_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = launch.absolute(Settings(state=Path("state"), model="model"))
    assert (settings.state, settings.model) == (tmp_path / "state", model)
    assert launch.absolute(Settings(model="org/name-on-the-hub")).model == "org/name-on-the-hub"


def test_more_than_one_node_with_sqlite_is_refused_with_the_reason() -> None:
    check_shared(Settings(), 1)
    check_shared(Settings(database="postgresql://db/errata"), 3)
    with pytest.raises(
        SettingsError, match=r"has 3 nodes, and SQLite is a file .* set `database` to postgresql"
    ):
        check_shared(Settings(), 3)
