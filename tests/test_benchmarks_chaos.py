"""What `benchmarks.chaos` finds out: each violation is told, and what is right is not."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from align.state.replicas import Replica
from align.state.rollouts import Rollout
from benchmarks.chaos.invariants import Sent, answers_by_one_version, corrections_kept, one_truth
from benchmarks.chaos.processes import mark, marked, orphans
from benchmarks.chaos.report import Report
from benchmarks.chaos.rounds import Round
from serve.drill.load import Seen
from serve.drill.references import Reference

REFERENCES = {"base": [Reference("a red cup", (1, 2, 3))], "v0001": [Reference("a blue cup", (1, 4, 3))]}
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


def test_all_replicas_hold_and_say_what_is_in_force() -> None:
    holds = Replica("one", 0.0, "", 7, None, ["v0001"])
    lacks = Replica("two", 0.0, "", 6, None, [])
    assert one_truth(IN_FORCE, [holds], {"one": (7, "v0001")}) == []
    assert "holds []" in one_truth(IN_FORCE, [holds, lacks], {})[0]
    assert "says (6, 'base')" in one_truth(IN_FORCE, [holds], {"one": (6, "base")})[0]


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
    report = Report(
        0,
        "sqlite",
        [Round(0, "proxy", 2.0, ("it was lost",), 9, 1, 3), Round(1, "replica", None, (), 5, 0, 4)],
    )
    told = report.to_json()
    assert (told["rounds"], told["violations"], told["what"]) == (1, 1, ["round 0, proxy: it was lost"])
    assert told["recovery_seconds"] == {"proxy": {"rounds": 1, "median": 2.0, "max": 2.0}}
