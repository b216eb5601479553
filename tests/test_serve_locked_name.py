"""A name is its process's alone while that lives, and the next one's after its death."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serve.locked_name import LockedName

HOLDS = """
import sys, time
from pathlib import Path
from serve.locked_name import LockedName

locked = LockedName(Path(sys.argv[1]))
print(locked.name, flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "aligner"


def test_the_name_of_a_process_that_was_killed_is_the_next_one_s_and_not_before(path: Path) -> None:
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{HOLDS}", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            name = process.stdout.readline().strip()
            beside = LockedName(path)
            assert beside.name not in ("", name)
            beside.close()
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL
    assert LockedName(path).name == name


def test_a_name_is_kept_from_one_to_the_next(path: Path) -> None:
    first = LockedName(path)
    first.close()
    second = LockedName(path)
    assert second.name == first.name
    assert LockedName(path).name != first.name


def test_a_copy_of_the_file_gives_no_name_away(path: Path, tmp_path: Path) -> None:
    first = LockedName(path)
    copy = shutil.copytree(path.parent, tmp_path / "copy") / path.name
    assert LockedName(copy).name != first.name


def test_what_another_machine_wrote_gives_no_name_away(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = LockedName(path)
    first.close()
    (tmp_path / "boot_id").write_text("another")
    monkeypatch.setattr("serve.locked_name.BOOT_ID", tmp_path / "boot_id")
    assert LockedName(path).name != first.name


@pytest.mark.parametrize("is_missing", ["folder", "boot id"])
def test_where_nothing_can_be_locked_each_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_missing: str
) -> None:
    path = tmp_path / "aligner"
    if is_missing == "folder":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "aligner"
    else:
        monkeypatch.setattr("serve.locked_name.BOOT_ID", tmp_path / "none")
    first = LockedName(path)
    first.close()
    assert LockedName(path).name != first.name
