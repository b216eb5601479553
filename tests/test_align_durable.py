"""Files that outlive a crash: with their contents, and with the folders that lead to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from align import durable
from align.durable import appears_whole, write_whole


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was forced to disk, in order, by name."""
    names: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(durable.os, "fsync", record)
    return names


def test_a_file_is_on_disk_before_it_has_its_name_and_its_name_before_anyone_is_told(
    tmp_path: Path, synced: list[str]
) -> None:
    write_whole(tmp_path / "file", b"contents")
    assert synced[0].startswith(".file.")
    assert synced[1:] == [tmp_path.name]


def test_new_folders_are_on_disk_as_well(tmp_path: Path, synced: list[str]) -> None:
    """A folder is an entry of the one above: without that, a power failure takes the whole branch away."""
    write_whole(tmp_path / "blobs/images/ab/file", b"contents")
    assert sorted(synced[:3]) == sorted([tmp_path.name, "blobs", "images"])
    synced.clear()
    write_whole(tmp_path / "blobs/images/ab/other", b"contents")
    assert synced[1:] == ["ab"]


def test_a_folder_has_its_files_on_disk_before_its_name(tmp_path: Path, synced: list[str]) -> None:
    with appears_whole(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "a").write_bytes(b"a")
        (temporary / "b").write_bytes(b"b")
    assert sorted(synced[:2]) == ["a", "b"]
    assert synced[2].startswith(".folder.")
    assert synced[3:] == [tmp_path.name]
