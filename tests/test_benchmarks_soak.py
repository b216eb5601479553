"""What `benchmarks.soak` finds out: what grows is told from what comes and goes, by process, by answer, by minute."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from records import response

from align.state import Store
from benchmarks.chaos.processes import mark
from benchmarks.soak.course import Look, Plan, Record
from benchmarks.soak.flatness import Bound, slope, trend
from benchmarks.soak.footprint import Footprint, footprints
from benchmarks.soak.latency import period
from benchmarks.soak.report import Report
from benchmarks.soak.room import Room, num_tokens, room
from benchmarks.soak.series import HANDLES, MEMORY, MIB, all_series
from serve.drill.load import Seen
from serve.drill.swaps import Swap

HOUR = 3600.0
MOMENTS = [15.0 + 30 * number for number in range(120)]


def test_a_slope_is_that_of_the_line_and_its_interval_that_of_the_deviations() -> None:
    assert slope([(at, 100 + 7 * at / HOUR) for at in MOMENTS]) == (
        pytest.approx(7),
        pytest.approx(0, abs=1e-9),
    )
    rise, margin = slope([(0, 0), (HOUR, 2), (2 * HOUR, 1), (3 * HOUR, 3)])
    assert rise == pytest.approx(0.8)
    assert margin == pytest.approx(1.959964 * math.sqrt(1.8 / 2 / 5))
    assert all(math.isnan(one) for one in slope([(0, 0), (1, 1)]))


def test_the_beginning_is_minutes_5_to_15_and_the_end_the_last_ten() -> None:
    points = [(at, 4.0 if at >= 3000 else 2.0 if at < 900 else 7.0) for at in MOMENTS if at > 300]
    found = trend([(15.0, 100.0), *points], HOUR)
    assert found is not None
    assert (found.before, found.after, found.ratio) == (2.0, 4.0, 2.0)
    assert trend(points[:30], HOUR) is None  # the end was not seen


def test_what_is_kept_at_each_promotion_is_not_flat() -> None:
    rng = random.Random(0)
    for size, bound, step in ((500 * MIB, MEMORY, 0.3 * MIB), (80.0, HANDLES, 1.0)):
        leaking = [(at, size + step * (at // 60) + rng.gauss(0, step)) for at in MOMENTS]
        found = trend(leaking, HOUR)
        assert found is not None
        assert found.is_rising
        assert not found.is_flat(bound)
        assert found.slope == pytest.approx(60 * step, rel=0.1)


def test_what_comes_and_goes_is_flat() -> None:
    rng = random.Random(0)
    for size, bound, spread in ((500 * MIB, MEMORY, 4 * MIB), (80.0, HANDLES, 2.0)):
        found = trend([(at, size + rng.gauss(0, spread)) for at in MOMENTS], HOUR)
        assert found is not None
        assert found.is_flat(bound)


def test_a_fall_is_bad_where_it_says_so() -> None:
    falling = trend([(at, 100 - at / 100) for at in MOMENTS], HOUR)
    assert falling is not None
    assert falling.is_flat(Bound(0.05))
    assert not falling.is_flat(Bound(0.05, is_lower=True))


def test_processes_are_counted_by_what_they_are() -> None:
    value = mark()
    code = "import time; print(1, flush=True); time.sleep(60)"
    engine = [sys.executable, "-c", code, "serve.engine.host"]
    parent = f"import subprocess; subprocess.Popen({engine!r}); {code}"
    try:
        with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.readline()
            found = footprints(value)
            assert set(found) == {"driver", "engine"}
            for taken in found.values():
                assert (taken.processes, taken.threads) == (1, 1)
                assert taken.memory > MIB
                assert taken.files >= 3
            for one in psutil.Process(process.pid).children():
                one.kill()
            process.kill()
    finally:
        del os.environ["ERRATA_CHAOS"]


def test_what_answers_take_of_the_disk_is_counted(tmp_path: Path) -> None:
    logs, pictures = tmp_path / "logs", tmp_path / "blobs" / "images" / "ab"
    for folder in (logs / "old", pictures):
        folder.mkdir(parents=True)
    (logs / "old" / "replica.log").write_bytes(b"12345")
    (tmp_path / "server.log").write_bytes(b"123")
    (pictures / "abc").write_bytes(b"1234")
    with closing(Store(f"sqlite:///{tmp_path}/errata.db")) as store:
        assert room(store, tmp_path, logs).answers == 0
        for number in range(50):
            store.responses.add(response(f"r{number}", created=float(number)))
        found = room(store, tmp_path, logs)
        assert num_tokens(store, since=40.0) == 30
        assert found.log == (tmp_path / "errata.db-wal").stat().st_size > 0
    assert (found.answers, found.corrections, found.pictures) == (50, 0, 1)
    assert (found.picture_bytes, found.written_log) == (4, 8)
    assert found.database >= 50 * len(response().text)


def test_a_period_tells_how_long_people_waited() -> None:
    answers = [
        Seen(0, 10.0, 12.0, "base", "a", "a cup", (10.5, 10.75, 11.0)),
        Seen(1, 10.0, 12.0, "base", "b", "a cup", (11.0, 12.0)),
        Seen(2, 10.0, 10.5, None, None, "", (), "503: no"),
    ]
    told = period(answers, 120, ended_s=60.0, lasted_s=30.0)
    assert (told.answers, told.failures, told.tokens_per_s) == (2, ("503: no",), 4.0)
    assert (told.first.p50, told.first.max) == (0.5, 1.0)
    assert (told.gap.num, told.gap.p50, told.gap.max) == (3, 0.25, 1.0)


def record(*, leak: int = 0, growth: int = 0, failure: str | None = None) -> Record:
    """Of an hour; `leak` bytes of an engine are kept at each look, and each answer takes `growth` bytes more."""
    made = Record()
    for number, at in enumerate(MOMENTS):
        roles = {"engine": Footprint(2, 10**9 + leak * number, 40, 12), "ray": Footprint(5, 10**8, 90, 60)}
        answers = 240 * (number + 1)
        database = 10**6 + 2000 * answers + growth * answers**2 // 2
        made.looks.append(Look(at, roles, Room(answers, 0, 10, database, 4096, 900, 300 * answers)))
    seen = [Seen(0, 0.0, 1.0, "base", "a", "a cup", (0.1, 0.2), failure)]
    made.periods = [period(seen, 9000, 60.0 * (number + 1), 60.0) for number in range(60)]
    made.swaps = [(60.0 * number, Swap("v0001", "v0002", 1.0, 2.0, True)) for number in range(60)]
    return made


def test_an_hour_in_which_nothing_grows_is_flat() -> None:
    report = Report(Plan(), record())
    assert (report.not_flat, report.num_failed) == ([], 0)
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (told["requests"], told["promotions"]) == ({"total": 60, "failed": 0}, 60)
    assert set(told["flat"]) == set(all_series(record()))
    assert told["series"]["memory, engine"]["ratio"] == 1.0
    assert told["series"]["database, for one more answer"]["before"] == pytest.approx(2000)


def test_a_leak_and_answers_that_take_more_and_more_are_found() -> None:
    assert Report(Plan(), record(leak=10**6)).not_flat == ["memory, engine"]
    assert Report(Plan(), record(growth=1)).not_flat == ["database, for one more answer"]


def test_what_failed_is_counted_wherever_it_did() -> None:
    failing = record(failure="503: no")
    failing.rest = [Seen(0, 0.0, 1.0, None, None, "", (), "cut off")]
    failing.corrections, failing.failed_corrections, failing.abandoned = 9, 2, ["after 60 s: no"]
    told = Report(Plan(), failing).to_json()
    assert told["requests"] == {"total": 60 + 1 + 9, "failed": 60 + 1 + 2 + 1}
    assert told["failures"] == ["503: no", "cut off", "after 60 s: no"]
    assert "first piece, p50" not in told["flat"]


def test_a_soak_that_is_under_way_is_judged_over_its_time_so_far() -> None:
    part = replace(record(leak=10**6))
    part.looks = part.looks[:60]
    told = Report(Plan(), part).to_json()
    assert told["minutes"] == 30.0
    assert told["flat"]["memory, engine"] is False
    part.looks = part.looks[:1]
    assert Report(Plan(), part).to_json()["flat"].keys() <= {"tokens a second", "promotion to last replica"}
