"""What `benchmarks.chaos` finds out: each violation is told, and what is right is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from align.state.adapters import Adapter
from align.state.replicas import Replica
from align.state.rollouts import Rollout
from align.state.runs import Run
from benchmarks.chaos import clock, disk
from benchmarks.chaos.invariants import Sent, answers_by_one_version, corrections_kept, one_truth, runs_kept
from benchmarks.chaos.processes import mark, marked, orphans
from benchmarks.chaos.report import Report, Stretch, from_json
from benchmarks.chaos.rounds import Round
from serve.drill.load import Seen
from serve.drill.references import Reference

REFERENCES = {"base": [Reference("a red cup", (1, 2, 3))], "v0001": [Reference("a blue cup", (1, 4, 3))]}
ROOT = Path(__file__).parents[1]
STRETCH = Stretch(0, "sqlite", {"align": "0.1.0+a"}, "a machine", "2026-01-31")
UNSTRUCK = Round(1, "replica", None, (), 5, 0, 4)
STEPPING = """
import json, sqlite3, subprocess, sys, threading, time
from benchmarks.chaos import clock

clock.hold("stepping")
folder, began, steps = clock._file().parent, time.time(), []
with clock.let_go():
    for offset_s in (1800.0, -1800.0):
        clock.set_to(offset_s)
        threading.Event().wait(0.01)
        time.sleep(0.01)
        child = subprocess.run([sys.executable, "-c", "import time; print(time.time())"], capture_output=True)
        (day,) = sqlite3.connect(":memory:").execute("SELECT julianday('now')").fetchone()
        steps += [moment - began for moment in (time.time(), float(child.stdout), (day - 2440587.5) * 86400)]
print(json.dumps({"steps": steps, "is_gone": not folder.exists()}))
"""
IN_FORCE = Rollout(7, 0.0, "committed", "v0001", None, 0.0, 0.0, 0.0)


def seen(text: str, adapter: str = "base", failure: str | None = None) -> Seen:
    return Seen(0, 0.0, 1.0, adapter, "r", text, (), failure)


def wrong_in(one: Seen, token_ids: tuple[int, ...] = (1, 2, 3), recorded: str | None = "base") -> list[str]:
    adapters = {} if recorded is None else {"r": recorded}
    return answers_by_one_version([one], REFERENCES, {"r": token_ids}, adapters)


def test_an_acknowledged_correction_is_there_once() -> None:
    sent = Sent("key", id="c1")
    assert corrections_kept([sent], {"key": ["c1"]}) == []
    assert "lost" in corrections_kept([sent], {})[0]
    assert "lost" in corrections_kept([sent], {"key": ["c2"]})[0]
    assert "2 times" in corrections_kept([sent], {"key": ["c1", "c2"]})[0]


def test_a_correction_that_nobody_acknowledged_may_be_there_or_not_but_never_twice() -> None:
    assert corrections_kept([Sent("key")], {}) == corrections_kept([Sent("key")], {"key": ["c1"]}) == []
    assert len(corrections_kept([Sent("key")], {"key": ["c1", "c2"]})) == 1


def test_a_correction_of_an_answer_that_was_told_may_not_be_refused() -> None:
    assert "404" in corrections_kept([Sent("key", refusal="404: unknown")], {})[0]


def test_an_answer_is_that_of_the_version_that_it_names_and_on_record() -> None:
    assert wrong_in(seen("a red cup")) == []
    assert "differs" in wrong_in(seen("a blue cup"), (1, 4, 3))[0]
    assert "not on record" in wrong_in(seen("a red cup"), recorded=None)[0]
    assert "its record says v0001" in wrong_in(seen("a red cup"), recorded="v0001")[0]


def test_an_answer_that_broke_off_may_be_short_but_not_mixed() -> None:
    assert wrong_in(seen("a r", failure="cut off")) == []
    assert wrong_in(seen("", failure="refused")) == []
    assert "mixed" in wrong_in(seen("a blue", failure="cut off"))[0]


def test_no_question_is_refused_for_good() -> None:
    assert wrong_in(seen("", failure="503: starting")) == wrong_in(seen("", failure="429: full")) == []
    assert "404" in wrong_in(seen("", failure="404: no such path"))[0]


def test_all_replicas_hold_and_say_what_is_in_force() -> None:
    holds = Replica("one", 0.0, "", 7, None, ["v0001"])
    lacks = Replica("two", 0.0, "", 6, None, [])
    assert one_truth(IN_FORCE, [holds], {"one": (7, "v0001")}) == []
    assert "holds []" in one_truth(IN_FORCE, [holds, lacks], {})[0]
    assert "says (6, 'base')" in one_truth(IN_FORCE, [holds], {"one": (6, "base")})[0]


def run(status: str, adapter: str | None = None, reason: str | None = "said") -> Run:
    return Run("r", 0.0, status, "request", adapter=adapter, reason=reason)


def version(name: str) -> Adapter:
    return Adapter(name, 0.0, "admitted", "digest", "r", "adapters/digest", {})


def test_a_run_ends_once_with_one_version_or_a_reason() -> None:
    admitted, failed = run("admitted", "v0001"), run("failed")
    assert runs_kept([admitted], [version("v0001")], {"r": "admitted"}) == []
    assert runs_kept([failed], [], {}) == runs_kept([run("gating")], [], {}) == []
    assert runs_kept([admitted], [], {}) == [], "the version came after its look"
    assert "2 runs" in runs_kept([run("running"), run("gating")], [], {})[0]
    assert "had ended as failed" in runs_kept([run("running")], [], {"r": "failed"})[0]
    assert "made v0001, v0002" in runs_kept([admitted], [version("v0001"), version("v0002")], {})[0]
    assert "is gating with None" in runs_kept([run("gating")], [version("v0001")], {})[0]
    assert "with the version None" in runs_kept([run("refused")], [], {})[0]
    assert "without a reason" in runs_kept([run("failed", reason=None)], [], {})[0]


def test_a_process_whose_parent_was_killed_is_an_orphan() -> None:
    """A parent that starts a child and waits: killed, it leaves the child behind."""
    value = mark()
    try:
        child = "import time; print(1, flush=True); time.sleep(60)"
        parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
        with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            both = marked(value)
            assert len(both) == 2
            assert orphans(both, process.pid) == []
            process.kill()
            process.wait()
            (left,) = marked(value)
            assert orphans([left], process.pid) == [f"{left.pid} {left.name()}"]
            left.kill()
            psutil.wait_procs([left])
    finally:
        del os.environ["ERRATA_CHAOS"]


def test_a_round_without_a_victim_counts_for_nothing_and_a_violation_says_where() -> None:
    first = replace(STRETCH, rounds=[Round(0, "proxy", 2.0, ("it was lost",), 9, 1, 3), UNSTRUCK])
    report = Report([first])
    told = report.to_json()
    assert (told["rounds"], told["violations"], told["what"]) == (1, 1, ["round 0, proxy: it was lost"])
    assert told["recovery_seconds"] == {"proxy": {"rounds": 1, "median": 2.0, "max": 2.0}}


def test_rounds_of_several_runs_add_up_and_each_stretch_says_what_was_struck_and_what_was_wrong() -> None:
    first = replace(STRETCH, rounds=[Round(0, "proxy", 2.0, ("it was lost",), 9, 1, 3), UNSTRUCK])
    written = json.loads(json.dumps(Report([first]).to_json()))
    resumed = from_json(written)
    assert (resumed.stretches, resumed.next_number) == ([first], 2)
    later = replace(STRETCH, database="postgresql", code={"align": "0.1.0+b"}, rounds=[])
    resumed.stretches.append(later)
    assert json.loads(json.dumps(resumed.to_json())) == written, (
        "a run that has struck nothing yet changes nothing"
    )
    later.rounds.append(Round(2, "proxy", 4.0, (), 7, 2, 6))
    told = resumed.to_json()
    assert (told["rounds"], told["answers"], told["corrections"]) == (2, 21, 10)
    assert told["what"] == ["round 0, proxy: it was lost"]
    assert told["recovery_seconds"] == {"proxy": {"rounds": 2, "median": 3.0, "max": 4.0}}
    assert [(one["database"], one["code"]["align"]) for one in told["stretches"]] == [
        ("sqlite", "0.1.0+a"),
        ("postgresql", "0.1.0+b"),
    ]


@pytest.mark.skipif(
    not clock.can_be_held(), reason="a library is put before the clock's: Linux, and a C compiler"
)
def test_a_stepped_clock_is_that_of_all_processes_and_of_sqlite_and_times_no_wait(tmp_path: Path) -> None:
    """A program that holds the clock, sets it, and asks a child, a database and a wait."""
    (tmp_path / "stepping.py").write_text(STEPPING)
    ran = subprocess.run(
        [sys.executable, "-m", "stepping"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told = json.loads(ran.stdout)
    assert told["steps"] == pytest.approx([1800.0] * 3 + [-1800.0] * 3, abs=600.0)
    assert told["is_gone"]


@pytest.mark.cluster
def test_a_server_that_is_struck_comes_back_and_has_lost_nothing(tmp_path: Path) -> None:
    """The short form of the benchmark, which `--rounds 1000` has for long."""
    kinds = ["replica", "stalled clients", *(["full disk"] if disk.can_be_made() else [])]
    file = tmp_path / "chaos.json"
    options = ["--rounds", str(len(kinds)), "--json", str(file), "--kinds", *kinds]
    struck = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert struck.returncode == 0, struck.stdout + struck.stderr
    told = json.loads(file.read_text())
    assert (told["rounds"], told["violations"]) == (len(kinds), 0)
    assert told["recovery_seconds"].keys() == set(kinds)
    assert told["corrections"] > 0
