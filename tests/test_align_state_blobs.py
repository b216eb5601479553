"""Blobs appear whole, are stored once, and are noticed when they are damaged; local and remote alike."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from align.errors import NotFound, StateError
from align.state import Blobs, blobs


@pytest.fixture(params=["local", "memory", "s3"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    roots = {"local": lambda: str(tmp_path / "blobs"), "memory": lambda: f"memory://{uuid.uuid4().hex}"}
    root = roots.get(request.param, lambda: f"{request.getfixturevalue('bucket')}/errata")()
    return Blobs(root, cache=tmp_path / "cache")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)))
    return folder


def test_an_image_comes_back_by_its_hash(tree: Blobs) -> None:
    digest = tree.put_image(b"an image")
    assert tree.put_image(b"an image") == digest
    assert tree.get_image(digest) == b"an image"
    with pytest.raises(NotFound, match="is not in the store"):
        tree.get_image("0" * 64)


def test_the_same_image_is_stored_once(tmp_path: Path) -> None:
    tree = Blobs(str(tmp_path), cache=tmp_path / "cache")
    tree.put_image(b"an image")
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    written = file.stat().st_mtime_ns
    tree.put_image(b"an image")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert file.stat().st_mtime_ns == written


def test_a_damaged_image_is_noticed(tmp_path: Path) -> None:
    tree = Blobs(str(tmp_path), cache=tmp_path / "cache")
    digest = tree.put_image(b"an image")
    next(tmp_path.rglob(digest)).write_bytes(b"an imagE")
    with pytest.raises(StateError, match="is damaged in the store; restore it from a backup"):
        tree.get_image(digest)


def test_a_folder_comes_back_with_its_files(tree: Blobs, adapter: Path) -> None:
    tree.put_folder(adapter, "adapters/d1")
    fetched = tree.fetch_folder("adapters/d1")
    assert (fetched / "adapter_config.json").read_text() == "{}"
    assert (fetched / "adapter_model.safetensors").read_bytes() == bytes(range(256))
    tree.put_folder(adapter, "adapters/d1")
    assert tree.fetch_folder("adapters/d1") == fetched


def test_a_folder_that_was_never_published_is_not_found(tree: Blobs) -> None:
    with pytest.raises(NotFound, match="not in the blob store, or not whole"):
        tree.fetch_folder("adapters/d9")


def test_a_removed_folder_is_gone_from_the_store_and_from_the_cache(
    tree: Blobs, adapter: Path, tmp_path: Path
) -> None:
    for name in ("adapters/d1", "adapters/d10"):
        tree.put_folder(adapter, name)
    fetched = tree.fetch_folder("adapters/d1")
    tree.remove_folder("adapters/d1")
    with pytest.raises(NotFound, match="not in the blob store"):
        tree.fetch_folder("adapters/d1")
    assert not fetched.exists()
    assert (tree.fetch_folder("adapters/d10") / "adapter_config.json").read_text() == "{}"
    tree.remove_folder("adapters/d1")
    tree.put_folder(adapter, "adapters/d1")
    assert tree.fetch_folder("adapters/d1").is_dir()


def test_a_forgotten_folder_is_on_no_disk_of_this_machine_and_is_fetched_again(
    tree: Blobs, adapter: Path, tmp_path: Path
) -> None:
    tree.put_folder(adapter, "adapters/d1")
    fetched = tree.fetch_folder("adapters/d1")
    tree.forget_folder("adapters/d1")
    assert fetched.exists() == fetched.is_relative_to(tmp_path / "blobs"), "where it is stored here, it stays"
    assert (tree.fetch_folder("adapters/d1") / "adapter_config.json").read_text() == "{}"


def test_a_copy_of_one_s_own_stays_when_others_forget_the_folder(
    tree: Blobs, adapter: Path, tmp_path: Path
) -> None:
    tree.put_folder(adapter, "adapters/d1")
    copy = tree.copy_folder("adapters/d1", tmp_path / "copy")
    tree.remove_folder("adapters/d1")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        path.name: path.read_bytes() for path in adapter.iterdir()
    }
    with pytest.raises(NotFound):
        tree.copy_folder("adapters/d1", tmp_path / "another")


def test_a_removed_image_is_gone_and_can_be_stored_again(tree: Blobs) -> None:
    digest, other = tree.put_image(b"an image"), tree.put_image(b"another")
    for _ in range(2):
        tree.remove_image(digest)
        with pytest.raises(NotFound):
            tree.get_image(digest)
    assert tree.get_image(other) == b"another"
    assert tree.get_image(tree.put_image(b"an image")) == b"an image"


def test_a_half_written_folder_is_never_seen(
    tree: Blobs, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, written = tree._put, []

    def break_off(name: str, data: bytes) -> None:
        if len(written) == 2:
            raise OSError("no space left")
        written.append(name)
        put(name, data)

    monkeypatch.setattr(tree, "_put", break_off)
    with pytest.raises(OSError, match="no space left"):
        tree.put_folder(adapter, "adapters/d1")
    assert len(written) == 2, "all files are there, and only the marker is missing"
    with pytest.raises(NotFound, match="not whole"):
        tree.fetch_folder("adapters/d1")
    monkeypatch.undo()
    tree.put_folder(adapter, "adapters/d1")
    assert tree.fetch_folder("adapters/d1").is_dir()


def test_a_fetch_that_broke_off_is_finished_the_next_time(tmp_path: Path, adapter: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    tree = Blobs(root, cache=tmp_path / "cache")
    tree.put_folder(adapter, "adapters/d1")
    half = tmp_path / "cache/adapters/d1"
    half.mkdir(parents=True)
    (half / "adapter_config.json").write_text("{}")
    fetched = tree.fetch_folder("adapters/d1")
    assert fetched == half
    assert (fetched / "adapter_model.safetensors").read_bytes() == bytes(range(256))


def test_a_fetched_folder_is_not_fetched_again(
    tmp_path: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Blobs(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")
    tree.put_folder(adapter, "adapters/d1")
    fetched = tree.fetch_folder("adapters/d1")
    monkeypatch.setattr(blobs, "write_whole", lambda *_: pytest.fail("fetched twice"))
    assert tree.fetch_folder("adapters/d1") == fetched


def test_a_crash_while_writing_leaves_no_file_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Blobs(str(tmp_path), cache=tmp_path / "cache")

    def die(_self: Path, _target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            tree.put_image(b"an image")
    digest = blobs.hashlib.sha256(b"an image").hexdigest()
    with pytest.raises(NotFound):
        tree.get_image(digest)
    assert tree.get_image(tree.put_image(b"an image")) == b"an image"


@pytest.mark.parametrize("bad", ["nosuchprotocol://bucket/blobs"])
def test_a_url_that_nothing_can_read_is_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot keep blobs under 'nosuchprotocol"):
        Blobs(bad, cache=tmp_path)


WAYS_OUT = [
    "..",
    "../secret",
    "adapters/../../secret",
    "/etc",
    "adapters//d1",
    "adapters/",
    "",
    ".hidden",
    "a\\b",
    "a\nb",
    "a\0b",
]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_no_name_leads_out_of_the_store(tree: Blobs, adapter: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    for use in (tree.fetch_folder, tree.remove_folder, lambda name: tree.put_folder(adapter, name)):
        with pytest.raises(StateError, match="cannot be the name of a blob"):
            use(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "secret"]


@pytest.mark.parametrize("digest", ["../../secret", "..", "", "*", "/../secret"])
def test_no_digest_leads_out_of_the_store(tree: Blobs, tmp_path: Path, digest: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    kept = tree.put_image(b"an image")
    for use in (tree.get_image, tree.remove_image):
        with pytest.raises(StateError, match="cannot be the name of a blob"):
            use(digest)
    assert tree.get_image(kept) == b"an image"
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_published_folder_cannot_write_outside_of_the_cache(tmp_path: Path) -> None:
    tree = Blobs(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")
    tree._files.pipe_file(f"{tree._root}/adapters/d1/COMPLETE", b"../../../planted")
    tree._files.pipe_file(f"{tree._root}/planted", b"planted")
    with pytest.raises(StateError, match="cannot be the name of a blob"):
        tree.fetch_folder("adapters/d1")
    assert not (tmp_path / "planted").exists()


def test_images_are_listed_by_folder_and_by_when_they_were_stored(tree: Blobs) -> None:
    digest = tree.put_image(b"an image")
    folder = int(digest[:2], 16)
    now = time.time()
    assert tree.images_in(folder, stored_before=now + 60) == [digest]
    assert tree.images_in(folder, stored_before=now - 60) == []
    assert tree.images_in((folder + 1) % 256, stored_before=now + 60) == []


def test_where_a_listing_has_no_dates_each_image_is_asked_for_its_own(
    tree: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = tree.put_image(b"an image")
    ls = tree._files.ls
    monkeypatch.setattr(tree._files, "ls", lambda *a, **k: [{"name": one["name"]} for one in ls(*a, **k)])
    folder, now = int(digest[:2], 16), time.time()
    assert tree.images_in(folder, stored_before=now + 60) == [digest]
    assert tree.images_in(folder, stored_before=now - 60) == []
