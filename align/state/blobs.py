"""Images and adapters under one fsspec URL. A blob appears whole and never changes."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ..durable import write_whole
from ..errors import NotFound, StateError

PART = re.compile(r"\w[\w.-]*", re.ASCII)
"""Of a blob's name, between slashes: none that leads upwards, to the root or to what is being written."""

DIGEST = re.compile(r"[0-9a-f]{64}")

DATES = ("LastModified", "mtime", "created")
"""When a file was last written, as listings of S3, of a local folder and of memory call it."""

HALF_WRITTEN_S = 3600.0
"""A file that has had no name for so long was left by a crash, and is not being written."""


class Blobs:
    def __init__(self, url: str, cache: Path) -> None:
        """`cache` is a local folder for files that must be on a disk, where `url` is remote.

        Raises `StateError` where no installed package can read such a URL.
        """
        try:
            # no listings kept: other processes write there, too
            self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            hint = "; pip install 'errata-server[s3]'" if url.startswith("s3:") else ""
            raise StateError(f"cannot keep blobs under {url!r}: {error}{hint}") from error
        self._url = url
        self._is_local = isinstance(self._files, LocalFileSystem)
        self._cache = cache

    def check(self) -> None:
        """Raises `StateError` where nothing can be written and read there: no credentials, no bucket, no right."""
        if self._is_local:
            return
        probe = f"{self._root}/probe-{uuid.uuid4().hex}"
        try:
            self._files.pipe_file(probe, b"errata")
            self._files.cat_file(probe)
            self._files.rm_file(probe)
        except Exception as error:  # each store has errors of its own
            raise StateError(f"cannot use {self._url} for blobs: {error}") from error

    def put_image(self, data: bytes) -> str:
        """Store encoded image bytes once; returns their SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        self._put(_image_name(digest), data)
        return digest

    def get_image(self, digest: str) -> bytes:
        """Raises `NotFound`, and `StateError` where the bytes are not those that were stored."""
        try:
            data: bytes = self._files.cat_file(f"{self._root}/{_image_name(digest)}")
        except FileNotFoundError as error:
            raise NotFound(f"image {digest} is not in the store") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StateError(f"image {digest} is damaged in the store; restore it from a backup")
        return data

    def remove_image(self, digest: str) -> None:
        """Its bytes and all that was derived from them: whatever the cache's folder holds with its SHA-256 in its name.

        Nothing where there is none. Call it under the database's lock, as `Erasures.remove_images` does.
        """
        address = f"{self._root}/{_image_name(digest)}"
        if self._is_local:
            Path(address).unlink(missing_ok=True)
            for path in Path(address).parent.glob(f".{digest}.*"):
                if time.time() - path.stat().st_mtime > HALF_WRITTEN_S:
                    path.unlink(missing_ok=True)
        elif self._files.exists(address):
            self._files.rm_file(address)
        for path in self._cache.rglob(f"*{digest}*"):
            path.unlink(missing_ok=True)

    def images_in(self, folder: int, stored_before: float) -> list[str]:
        """Their SHA-256s, of the one of 256 folders; `stored_before` is in seconds since the epoch."""
        try:
            listed = self._files.ls(f"{self._root}/images/{folder:02x}", detail=True)
        except FileNotFoundError:
            return []
        images = ((one["name"].rpartition("/")[2], one) for one in listed)
        return sorted(
            name for name, one in images if DIGEST.fullmatch(name) and self._stored(one) < stored_before
        )

    def folders_in(self, folder: str) -> list[str]:
        """Their names, in order, whether they were published whole or not."""
        _check_name(folder)
        try:
            paths = self._files.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        names = (path.rstrip("/").rpartition("/")[2] for path in paths)
        return sorted(f"{folder}/{name}" for name in names if PART.fullmatch(name))

    def is_stored_before(self, name: str, moment: float) -> bool:
        """Whether the last file of a folder was, in seconds since the epoch."""
        _check_name(name)
        listed = self._files.find(f"{self._root}/{name}", detail=True).values()
        return all(self._stored(one) < moment for one in listed)

    def remove_folder(self, name: str) -> None:
        """A published folder, its marker first: no reader takes what is left for whole. Nothing where there is none."""
        _check_name(name)
        root = f"{self._root}/{name}"
        if self._files.exists(f"{root}/COMPLETE"):
            self._files.rm_file(f"{root}/COMPLETE")
        if self._files.exists(root):
            self._files.rm(root, recursive=True)
        self.forget_folder(name)

    def forget_folder(self, name: str) -> None:
        """The copy on this machine's disk, where the folder is elsewhere."""
        _check_name(name)
        (self._cache / name / "COMPLETE").unlink(missing_ok=True)
        shutil.rmtree(self._cache / name, ignore_errors=True)  # another process may be removing it, too

    def put_folder(self, folder: Path, name: str) -> None:
        """Publish the files of a flat folder under `name`; a marker, written last, makes it whole."""
        lines = []
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            data = path.read_bytes()
            self._put(f"{name}/{path.name}", data)
            lines.append(f"{path.name} {hashlib.sha256(data).hexdigest()}")
        self._put(f"{name}/COMPLETE", "\n".join(lines).encode())

    def fetch_folder(self, name: str, *, is_anew: bool = False) -> Path:
        """A local folder with the files, for all on this machine: gone when one of them forgets it.

        What was fetched before is taken for whole, unless it `is_anew`: then each file takes the place of the one that
        was there, and others who do the same just now miss none.

        Raises `NotFound` where it was never published whole, and `StateError` where a file is not what was published.
        """
        marker = self._marker(name)
        if self._is_local:
            return Path(self._root) / name
        target = self._cache / name
        if is_anew or not (target / "COMPLETE").exists():
            self._copy(name, marker, target)
            write_whole(target / "COMPLETE", marker)
        return target

    def copy_folder(self, name: str, target: Path) -> Path:
        """The files, in a folder of the caller's own that others' forgetting leaves alone. Raises as `fetch_folder`."""
        self._copy(name, self._marker(name), target)
        return target

    def _marker(self, name: str) -> bytes:
        _check_name(name)
        try:
            marker: bytes = self._files.cat_file(f"{self._root}/{name}/COMPLETE")
        except FileNotFoundError as error:
            raise NotFound(f"{name} is not in the blob store, or not whole") from error
        return marker

    def _copy(self, name: str, marker: bytes, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        for line in marker.decode().split("\n"):
            file, _, digest = line.partition(" ")  # without a digest where an earlier Errata wrote it
            _check_name(file)
            data = self._files.cat_file(f"{self._root}/{name}/{file}")
            if digest and hashlib.sha256(data).hexdigest() != digest:
                raise StateError(f"{name}/{file} is damaged in the store; restore it from a backup")
            write_whole(target / file, data)

    def _stored(self, listed: dict[str, Any]) -> float:
        """When, in seconds since the epoch, by its listing: to ask a remote store for each file takes long."""
        for name in DATES:
            match listed.get(name):
                case datetime() as date:
                    return date.timestamp()
                case float() | int() as seconds:
                    return float(seconds)
        moment: datetime = self._files.modified(listed["name"])
        return moment.timestamp()

    def _put(self, name: str, data: bytes) -> None:
        _check_name(name)
        if self._is_local:
            path = Path(self._root) / name
            if not path.exists():
                write_whole(path, data)
        elif not self._files.exists(f"{self._root}/{name}"):
            self._files.pipe_file(f"{self._root}/{name}", data)


def _image_name(digest: str) -> str:
    name = f"images/{digest[:2]}/{digest}"
    _check_name(name)
    return name


def _check_name(name: str) -> None:
    """Raises `StateError`: no name, wherever it was read, leads out of the folder of the blobs."""
    if not all(PART.fullmatch(part) for part in name.split("/")):
        raise StateError(f"{name!r} cannot be the name of a blob: letters, digits and `_.-` make one")
