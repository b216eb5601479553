"""The digests of a manifest change with what they stand for, and with nothing else."""

from __future__ import annotations

import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from align import provenance
from align.errors import StateError
from align.provenance import Provenance, base_digest, code_version, provenance_of
from align.scenes import MODEL_PATH


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL_PATH, tmp_path / "base"))


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_copy_of_the_model_has_the_same_digests(base: Path) -> None:
    assert provenance_of(base) == provenance_of(MODEL_PATH) == provenance_of(str(MODEL_PATH))


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("model.safetensors", "base_digest"),
        ("config.json", "base_digest"),
        ("generation_config.json", "base_digest"),
        ("tokenizer.json", "processor_digest"),
        ("processor_config.json", "processor_digest"),
        ("chat_template.jinja", "processor_digest"),
    ],
)
def test_a_changed_byte_changes_the_digest_of_its_part_alone(base: Path, file: str, changed: str) -> None:
    before = provenance_of(base)
    change(base / file)
    after = provenance_of(base)
    differing = [name for name in before.to_json() if before.to_json()[name] != after.to_json()[name]]
    assert differing == [changed]


def test_a_renamed_file_is_another_model(base: Path) -> None:
    before = provenance_of(base)
    (base / "tokenizer.json").rename(base / "vocabulary.json")
    assert provenance_of(base).processor_digest != before.processor_digest


def test_what_is_written_beside_the_model_is_no_part_of_it(base: Path) -> None:
    (base / "README.md").write_text("another text")
    (base / "runs").mkdir()
    assert provenance_of(base) == provenance_of(MODEL_PATH)


def test_weights_are_read_once_unless_they_were_written_again(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_digest(base)
    read: list[str] = []
    open_file = Path.open

    def noting(path: Path, *mode: Any) -> Any:
        read.append(path.name)
        return open_file(path, *mode)

    monkeypatch.setattr(Path, "open", noting)
    base_digest(base)
    assert read == []
    os.utime(base / "model.safetensors", (1, 1))
    base_digest(base)
    assert read == ["model.safetensors"]


def test_the_code_has_a_version_that_changes_with_its_sources(tmp_path: Path) -> None:
    assert re.fullmatch(rf"{re.escape(version('errata-server'))}\+[0-9a-f]{{12}}", code_version())
    package = Path(shutil.copytree(Path(provenance.__file__).parent, tmp_path / "align"))
    assert code_version(package) == code_version()
    change(package / "scenes" / "noise.py")
    assert code_version(package) != code_version()


def test_a_model_that_is_not_on_this_machine_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StateError, match=r"the files of 'no/such-model' are not on this machine"):
        provenance_of("no/such-model")


def test_it_goes_into_a_manifest_as_plain_words() -> None:
    assert Provenance("1+a", "b", "c").to_json() == {
        "code_version": "1+a",
        "base_digest": "b",
        "processor_digest": "c",
    }
