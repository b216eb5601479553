"""What is old and uncorrected goes, in steps; what anybody or anything still needs stays."""

from __future__ import annotations

import hashlib
import os
import time
import tracemalloc
import uuid
from itertools import count, islice
from pathlib import Path

import pytest
from records import adapter_row, correction, response, running

from align.errors import NotFound
from align.state import Blobs, Store
from align.state.claims import Holder
from serve.metrics.store import expired_figure
from serve.retention import DAY_S, NUM_FOLDERS, Retention, superseded
from serve.settings import RetentionSettings

pytestmark = pytest.mark.every_database

MONTH = RetentionSettings(responses_days=30, batch=2, every_s=1000)


def answer(store: Store, blobs: Blobs, name: str, *, days: float, image: bytes | None = None) -> None:
    parts = [{"type": "text", "text": "What?"}]
    if image is not None:
        parts.append({"type": "image", "sha256": blobs.put_image(image)})
    conversation = [{"role": "user", "content": parts}]
    store.responses.add(response(name, created=time.time() - days * DAY_S, conversation=conversation))


def kept(store: Store, *names: str) -> list[str]:
    return [name for name in names if not store.responses.get(name).is_erased]


def images(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in (folder / "blobs").rglob("*") if path.is_file()}


def test_old_answers_without_corrections_go_with_their_images_in_steps(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    for number in range(5):
        answer(store, blobs, f"r{number}", days=40 - number, image=f"image {number}".encode())
    answer(store, blobs, "corrected", days=50, image=b"image 1")
    answer(store, blobs, "young", days=29, image=b"image 2")
    answer(store, blobs, "looked at", days=50)
    store.corrections.add(correction("c1", response_id="corrected"))
    store.claims.take(Holder("k", "ada"), "looked at", now=time.time(), until=time.time() + 60)
    retention = Retention(store, blobs, MONTH)
    assert [one.value for one in expired_figure(store, 30).samples] == [5]
    names = [f"r{number}" for number in range(5)]
    retention.step()
    assert kept(store, *names) == ["r2", "r3", "r4"]
    retention.step()
    retention.step()
    assert kept(store, *names) == []
    assert kept(store, "corrected", "young", "looked at") == ["corrected", "young", "looked at"]
    assert [one.value for one in expired_figure(store, 30).samples] == [0]
    assert images(tmp_path) == {b"image 1", b"image 2"}


def test_an_answer_that_nobody_looks_at_any_more_expires_though_its_claim_is_still_there(
    store: Store, blobs: Blobs
) -> None:
    now = time.time()
    for name, until in (("looked at", now + 60), ("left", now - 1)):
        answer(store, blobs, name, days=40)
        store.claims.take(Holder("k", name), name, now=now - 60, until=until)
    assert [one.value for one in expired_figure(store, 30).samples] == [1]
    Retention(store, blobs, MONTH).step()
    assert kept(store, "looked at", "left") == ["looked at"]


def test_nothing_expires_unless_asked(store: Store, blobs: Blobs) -> None:
    answer(store, blobs, "r1", days=10_000)
    Retention(store, blobs, RetentionSettings()).step()
    assert kept(store, "r1") == ["r1"]


def test_what_a_run_sees_waits_for_its_end_and_taints_nothing(store: Store, blobs: Blobs) -> None:
    answer(store, blobs, "r1", days=40)
    answer(store, blobs, "r2", days=40)
    run = running(store)
    assert store.expiry.responses(time.time(), 10) == 0, "it may be reading any of them"
    store.runs.update(
        store.runs.get(run), manifest={"train": [], "held_out": [], "general": ["r1"], "last_sequence": 0}
    )
    assert store.expiry.responses(time.time(), 1) == 1
    assert kept(store, "r1", "r2") == ["r1"]
    adapter = adapter_row(store, run_id=run)
    assert store.expiry.responses(time.time(), 10) == 1
    assert store.adapters.get(adapter.version).tainted is None


def test_a_run_that_learns_from_many_corrections_makes_no_step_longer(store: Store, blobs: Blobs) -> None:
    for name in ("seen", "r1", "r2"):
        answer(store, blobs, name, days=40)
    run, many = running(store), [uuid.uuid4().hex for _ in range(20_000)]
    manifest = {"train": many[:15_000], "held_out": many[15_000:], "general": ["seen"], "last_sequence": 0}
    store.runs.update(store.runs.get(run), manifest=manifest)
    assert store.expiry.responses(time.time(), 1) == 1
    tracemalloc.start()
    try:
        assert store.expiry.responses(time.time(), 2) == 1
        assert tracemalloc.get_traced_memory()[1] < sum(map(len, many)) / 2, "they are read in the database"
    finally:
        tracemalloc.stop()
    assert kept(store, "seen", "r1", "r2") == ["seen"]


def test_images_that_no_answer_shows_are_collected_and_young_ones_are_not(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    answer(store, blobs, "r1", days=1, image=b"shown")
    shown, orphan = blobs.put_image(b"shown"), blobs.put_image(b"orphan")
    blobs.put_image(b"young")
    for path in (tmp_path / "blobs").rglob("*"):
        if path.name in (shown, orphan):
            os.utime(path, (0, 0))
    retention = Retention(store, blobs, RetentionSettings(every_s=1e-9))
    for _ in range(NUM_FOLDERS):
        retention.step()
    assert images(tmp_path) == {b"shown", b"young"}


def test_all_images_of_a_folder_are_looked_at_and_a_few_at_a_time(
    store: Store, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that an answer shows come first, and are more than a step removes."""
    ours = (data for number in count() if _digest(data := b"%d" % number).startswith("00"))
    of_one_folder = sorted(islice(ours, 10), key=_digest)
    for number, data in enumerate(of_one_folder[:5]):
        answer(store, blobs, f"r{number}", days=1, image=data)
    for data in of_one_folder:
        blobs.put_image(data)
    for path in (tmp_path / "blobs").rglob("*"):
        os.utime(path, (0, 0))
    folders = folders_listed(blobs, monkeypatch)
    looked_at, left = list[str](), []
    orphans = store.expiry.orphans

    def look(some: list[str]) -> int:
        looked_at.extend(some)
        return orphans(some)

    monkeypatch.setattr(store.expiry, "orphans", look)
    retention = Retention(store, blobs, RetentionSettings(every_s=1000, batch=2))
    for _ in range(6):
        retention.step()
        left.append((len(looked_at), len(images(tmp_path))))
    assert left == [(2, 10), (4, 10), (6, 9), (8, 7), (10, 5), (10, 5)], "the next folder has time"
    assert images(tmp_path) == set(of_one_folder[:5])
    assert folders == [0]


def test_images_are_looked_for_once_and_not_after_each_batch_of_old_answers(
    store: Store, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        answer(store, blobs, f"r{number}", days=40)
    folders = folders_listed(blobs, monkeypatch)
    retention = Retention(store, blobs, MONTH)
    for _ in range(4):
        retention.step()
    assert kept(store, *(f"r{number}" for number in range(5))) == []
    assert folders == [0]


def folders_listed(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Those that are looked through from now on."""
    folders, images_in = list[int](), blobs.images_in

    def listed(folder: int, stored_before: float) -> list[str]:
        folders.append(folder)
        return images_in(folder, stored_before)

    monkeypatch.setattr(blobs, "images_in", listed)
    return folders


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_clock_that_was_set_makes_nothing_old_for_an_hour_and_holds_nothing_up(
    store: Store, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(store, blobs, "young", days=29)
    retention = Retention(store, blobs, MONTH)
    tick, wall = time.monotonic(), time.time()
    for leap_s, minutes, is_kept in ((2 * DAY_S, 1, True), (2 * DAY_S, 60, True), (2 * DAY_S, 90, False)):
        monkeypatch.setattr(time, "monotonic", lambda minutes=minutes: tick + 60 * minutes)
        monkeypatch.setattr(time, "time", lambda past=60 * minutes + leap_s: wall + past)
        retention.step()
        assert (kept(store, "young") == ["young"]) is is_kept
    monkeypatch.setattr(time, "time", lambda: wall)
    answer(store, blobs, "old", days=40)
    monkeypatch.setattr(time, "monotonic", lambda: tick + 60 * 120)
    retention.step()
    assert kept(store, "old") == [], "set back, it waits for no moment that has come already"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


@pytest.fixture
def nothing_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.retention.YOUNG_S", -3600.0)


def test_adapters_files_that_no_version_names_are_collected_and_young_ones_are_not(
    store: Store, blobs: Blobs, files: Path, tmp_path: Path
) -> None:
    for name in ("named", "retired", "orphan", "half-written", "young"):
        blobs.put_folder(files, f"adapters/{name}")
    adapter_row(store, blob="adapters/named")
    store.adapters.retire(adapter_row(store, blob="adapters/retired").version)
    folders = tmp_path / "blobs" / "adapters"
    (folders / "half-written" / "COMPLETE").rename(folders / "half-written" / ".COMPLETE.1")
    for path in folders.glob("*/*"):
        if path.parent.name != "young":
            os.utime(path, (0, 0))
    Retention(store, blobs, RetentionSettings()).step()
    assert {path.name for path in folders.iterdir()} == {"named", "retired", "young"}


@pytest.mark.usefixtures("nothing_is_young")
def test_reports_of_runs_that_ended_without_a_version_are_collected_in_steps(
    store: Store, blobs: Blobs, files: Path
) -> None:
    made, cancelled, under_way = adapter_row(store).run_id, running(store), running(store)
    store.runs.cancel(cancelled)
    for run_id in (made, cancelled, under_way, "run-of-no-row"):
        blobs.put_folder(files, f"reports/{run_id}")
    blobs.put_folder(files, "adapters/orphan")
    retention = Retention(store, blobs, RetentionSettings(every_s=1e-9, batch=1))
    left = []
    for _ in range(5):
        retention.step()
        left.append(len(blobs.folders_in("adapters") + blobs.folders_in("reports")))
    assert left[0] == 4, "one folder a step, and the adapters' come first"
    assert blobs.folders_in("adapters") == []
    assert blobs.folders_in("reports") == sorted(f"reports/{run_id}" for run_id in (made, under_way))


@pytest.mark.usefixtures("nothing_is_young")
def test_adapters_files_that_a_run_is_about_to_name_are_left_to_it(
    store: Store, blobs: Blobs, files: Path
) -> None:
    """They are as old as the attempt that died: the next one makes equal files, and uploads no file twice."""
    blobs.put_folder(files, "adapters/d1")
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    store.runs.update(run, status="gating")
    blobs.put_folder(files, "adapters/d1")
    retention = Retention(store, blobs, RetentionSettings(every_s=1e-9))
    retention.step()
    adapter_row(store, run=run, blob="adapters/d1")
    retention.step()
    assert blobs.fetch_folder("adapters/d1").is_dir()


@pytest.mark.usefixtures("nothing_is_young")
def test_adapters_files_are_collected_in_steps_from_s3_too(
    store: Store, bucket: str, files: Path, tmp_path: Path
) -> None:
    blobs = Blobs(f"{bucket}/errata", cache=tmp_path / "cache")
    names = [f"adapters/d{number}" for number in range(6)]
    for name in names:
        blobs.put_folder(files, name)
    adapter_row(store, blob=names[1])
    retention = Retention(store, blobs, RetentionSettings(every_s=1e-9, batch=2))
    left = []
    for _ in range(4):
        retention.step()
        left.append(blobs.folders_in("adapters"))
    assert left == [names[1:], [names[1], *names[4:]], [names[1]], [names[1]]]


def test_adapters_are_kept_while_they_answer_or_answered_before_or_are_among_the_newest(
    store: Store, blobs: Blobs, files: Path
) -> None:
    statuses = ["admitted", "refused", "admitted", "held", "admitted", "admitted", "admitted"]
    for number, status in enumerate(statuses, 1):
        blobs.put_folder(files, f"adapters/d{number}")
        adapter_row(store, status, blob=f"adapters/d{number}")
    for version in ("v0001", "v0003"):
        rollout = store.rollouts.propose(version)
        assert store.rollouts.commit(rollout.generation, 0.0)
    assert [one.version for one in superseded(store, 2, time.time())] == ["v0002", "v0005"]
    Retention(store, blobs, RetentionSettings(adapters=2)).step()
    gone = [one.version for one in store.adapters.all() if one.status == "retired"]
    assert sorted(gone) == ["v0002", "v0005"]
    for number in (2, 5):
        with pytest.raises(NotFound):
            blobs.fetch_folder(f"adapters/d{number}")
    assert blobs.fetch_folder("adapters/d1").is_dir()
