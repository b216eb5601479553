"""Corrections as a dataset over HTTP: what `errata export` writes, as a tar that is made while it is sent."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from records import correction, response
from served import Served, data_url, encoded, error, image_part, listening, serving, wait_until

from align.formats.export_format import ExportFormat
from align.formats.exporting import FORMATS, export_corrections
from serve.api import exports as exports_module
from serve.api.app import build_app
from serve.api.archive import tar_pieces


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "state") as served:
        yield served


def correct(served: Served, size: int) -> None:
    """An answer about an image of its own, and its correction."""
    content = [image_part(data_url(encoded(size=(size, 6)))), {"type": "text", "text": "What?"}]
    body = {
        "response_id": served.respond(content),
        "spans": [{"start": 0, "end": 2, "replacement": "Of"}],
    }
    assert served.client.post("/feedback", json=body).status_code == 201


def exports(served: Served) -> list[Path]:
    folder = served.replica.settings.state / "exports"
    return list(folder.iterdir()) if folder.exists() else []


def unpacked(content: bytes, folder: Path) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("format", ExportFormat)
def test_a_tar_holds_what_the_command_writes(served: Served, tmp_path: Path, format: ExportFormat) -> None:
    for size in (8, 9):
        correct(served, size)
    answer = served.client.get("/feedback/export", params={"format": format})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar")
    assert answer.headers["content-disposition"] == f'attachment; filename="errata-{format}.tar"'
    assert (answer.headers["x-errata-exported"], answer.headers["x-errata-failed"]) == ("2", "0")
    folder = tmp_path / f"errata-{format}"
    export_corrections(served.store, served.replica.blobs, FORMATS[format], folder, pytest.fail)
    written = {f"errata-{format}/{name}": content for name, content in files(folder).items()}
    assert unpacked(answer.content, tmp_path / "unpacked") == written
    wait_until(lambda: exports(served) == [])


def test_what_a_format_cannot_say_is_named_in_the_tar(served: Served, tmp_path: Path) -> None:
    correct(served, 8)
    served.store.responses.add(response("r1"))
    served.store.corrections.add(correction("c1", corrected_text="A <image>."))
    answer = served.client.get("/v1/feedback/export", params={"format": "llama-factory"})
    assert (answer.headers["x-errata-exported"], answer.headers["x-errata-failed"]) == ("1", "1")
    failures = unpacked(answer.content, tmp_path / "unpacked")["errata-llama-factory/failures.jsonl"]
    (failure,) = map(json.loads, failures.decode().splitlines())
    assert failure["where"] == "correction c1"
    assert "<image>" in failure["reason"]


def test_nothing_to_write_is_a_conflict_and_leaves_nothing(served: Served) -> None:
    answer = served.client.get("/feedback/export", params={"format": "trl"})
    assert "there is none yet" in error(answer, 409)["message"]
    assert exports(served) == []


@pytest.mark.parametrize(
    ("asked", "param"),
    [({}, "format"), ({"format": "csv"}, "format"), ({"format": "trl", "fromat": "trl"}, "fromat")],
)
def test_a_format_that_there_is_not_is_refused(served: Served, asked: dict[str, Any], param: str) -> None:
    assert error(served.client.get("/feedback/export", params=asked), 400)["param"] == param


def test_a_client_that_hangs_up_leaves_no_files(served: Served) -> None:
    for size in range(8, 12):
        correct(served, size)
    with listening(served) as url, httpx.stream("GET", f"{url}/feedback/export?format=openai") as answer:
        assert next(answer.iter_raw())
    wait_until(lambda: exports(served) == [])


def test_a_request_that_is_cancelled_while_its_files_are_written_leaves_none(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct(served, 8)
    has_begun, may_end, write = threading.Event(), threading.Event(), exports_module._write

    def slow(*arguments: Any) -> Any:
        has_begun.set()
        assert may_end.wait(20.0)
        return write(*arguments)

    monkeypatch.setattr(exports_module, "_write", slow)

    async def hang_up() -> None:
        transport = httpx.ASGITransport(build_app(served.replica))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            request = asyncio.create_task(client.get("/feedback/export?format=openai"))
            await asyncio.to_thread(has_begun.wait, 20.0)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            assert len(exports(served)) == 1, "the thread goes on"
            may_end.set()
            await asyncio.to_thread(wait_until, lambda: exports(served) == [])

    asyncio.run(hang_up())


def test_what_a_crash_left_is_removed_a_day_later(served: Served) -> None:
    folder = served.replica.settings.state / "exports"
    for name, age_s in (("old", 25 * 3600), ("new", 60)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age_s,) * 2)
    served.client.get("/feedback/export", params={"format": "trl"})
    assert [path.name for path in exports(served)] == ["new"]


def test_an_export_that_ends_meanwhile_disturbs_no_other(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct(served, 8)
    folder = served.replica.settings.state / "exports"
    (folder / "sent").mkdir(parents=True)
    listed = Path.iterdir

    def one_ends_after_the_look(self: Path) -> list[Path]:
        paths = list(listed(self))
        if self == folder:
            (folder / "sent").rmdir()
        return paths

    monkeypatch.setattr(Path, "iterdir", one_ends_after_the_look)
    assert served.client.get("/feedback/export", params={"format": "trl"}).status_code == 200


def test_a_tar_takes_no_more_memory_for_a_larger_file(tmp_path: Path) -> None:
    size = 40 * 2**20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    length = sum(len(piece) for piece in tar_pieces(tmp_path, "data"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length == size + 3 * 512
    assert peak < 8 * 2**20
