"""`errata backup` and `errata restore`: from one folder to another, and what each of them refuses."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from command_line import Errata, command_line, complaint
from records import response

from align.state import Store
from serve.settings import Settings


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


def test_a_state_is_written_into_a_file_and_put_into_another_folder(errata: Errata, tmp_path: Path) -> None:
    with closing(Store(Settings(state=tmp_path / "old").database_url)) as store:
        store.responses.add(response("r1"))
    file = tmp_path / "errata.tar"
    status, out, _ = errata("backup", file, "--state", tmp_path / "old")
    assert (status, out.partition(", as of ")[0]) == (0, "1 answers, 0 corrections, 0 images and 0 adapters")
    status, out, _ = errata("restore", file, "--state", tmp_path / "new", "--json")
    assert (status, json.loads(out)["rows"]["responses"]) == (0, 1)
    with closing(Store(Settings(state=tmp_path / "new").database_url)) as store:
        assert store.responses.get("r1").text == response("r1").text
    assert "is not empty" in complaint(errata("restore", file, "--state", tmp_path / "new"))


def test_a_folder_without_a_state_is_not_backed_up(errata: Errata, tmp_path: Path) -> None:
    answer = errata("backup", tmp_path / "errata.tar", "--state", tmp_path / "typo")
    assert "there is no server's state in" in complaint(answer)
    assert not (tmp_path / "errata.tar").exists()
