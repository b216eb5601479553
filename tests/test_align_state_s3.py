"""Blobs in a real S3 server: it fails for a while, it gives back other bytes, it cannot be used at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from s3_server import S3Server

from align.errors import NotFound, StateError
from align.state import Blobs


@pytest.fixture
def tree(bucket: str, tmp_path: Path) -> Blobs:
    return Blobs(f"{bucket}/errata", cache=tmp_path / "cache")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
def test_a_server_that_fails_for_a_moment_is_asked_again(tree: Blobs, s3: S3Server, method: str) -> None:
    kept = tree.put_image(b"an image")
    s3.fail(method, 2)
    assert tree.get_image(kept) == b"an image"
    assert tree.get_image(tree.put_image(b"another")) == b"another"
    assert s3.num_failed == 2


def test_an_upload_that_fails_for_good_leaves_nothing(tree: Blobs, s3: S3Server, adapter: Path) -> None:
    s3.fail("PUT", 1000)
    with pytest.raises(OSError, match="Service Unavailable"):
        tree.put_folder(adapter, "adapters/d1")
    s3.fail("", 0)
    with pytest.raises(NotFound, match="not whole"):
        tree.fetch_folder("adapters/d1")
    tree.put_folder(adapter, "adapters/d1")
    assert (tree.fetch_folder("adapters/d1") / "adapter_config.json").read_text() == "{}"


def test_what_was_changed_in_the_store_is_noticed(
    tree: Blobs, s3: S3Server, bucket: str, adapter: Path
) -> None:
    digest = tree.put_image(b"an image")
    tree.put_folder(adapter, "adapters/d1")
    client, name = s3.client(), bucket.removeprefix("s3://")
    for key in (f"errata/images/{digest[:2]}/{digest}", "errata/adapters/d1/adapter_model.safetensors"):
        client.put_object(Bucket=name, Key=key, Body=b"other bytes")
    with pytest.raises(StateError, match="is damaged in the store"):
        tree.get_image(digest)
    with pytest.raises(StateError, match=r"adapters/d1/adapter_model\.safetensors is damaged in the store"):
        tree.fetch_folder("adapters/d1")


def test_a_folder_of_an_earlier_errata_has_no_checksums_and_is_read(
    tree: Blobs, s3: S3Server, bucket: str, adapter: Path
) -> None:
    tree.put_folder(adapter, "adapters/d1")
    names = b"adapter_config.json\nadapter_model.safetensors"
    s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key="errata/adapters/d1/COMPLETE", Body=names)
    assert (tree.fetch_folder("adapters/d1") / "adapter_model.safetensors").read_bytes() == bytes(range(256))


def test_what_another_process_stored_and_removed_is_seen(bucket: str, tmp_path: Path, adapter: Path) -> None:
    one, other = (Blobs(f"{bucket}/errata", cache=tmp_path / name) for name in ("one", "other"))
    with pytest.raises(NotFound):
        other.fetch_folder("adapters/d1")
    one.put_folder(adapter, "adapters/d1")
    other.fetch_folder("adapters/d1")
    digest = one.put_image(b"an image")
    assert other.get_image(digest) == b"an image"
    other.remove_image(digest)
    with pytest.raises(NotFound):
        one.get_image(digest)
    one.put_image(b"an image")
    assert other.get_image(digest) == b"an image"


def test_what_is_old_is_found_by_listings_alone(tree: Blobs, s3: S3Server, adapter: Path) -> None:
    digest = tree.put_image(b"an image")
    tree.put_folder(adapter, "adapters/d1")
    s3.fail("HEAD", 1000)
    for moment, is_old in ((time.time() + 60, True), (time.time() - 60, False)):
        assert tree.images_in(int(digest[:2], 16), stored_before=moment) == [digest] * is_old
        assert tree.is_stored_before("adapters/d1", moment) is is_old
    assert s3.num_failed == 0
    s3.fail("", 0)


def test_a_store_that_cannot_be_used_is_said_at_the_start(tree: Blobs, s3: S3Server, tmp_path: Path) -> None:
    tree.check()
    with pytest.raises(StateError, match="cannot use s3://no-such-bucket/errata for blobs"):
        Blobs("s3://no-such-bucket/errata", cache=tmp_path).check()
