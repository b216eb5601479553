"""Counts over HTTP, for whoever may chat: what was answered and corrected, and how far the next run is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from records import correction, response, running
from served import Served, error, serving, wait_until

from align.state.wanted_responses import IMPORTED


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, alignment={"min_corrections": 7}) as served:
        yield served


def statistics(served: Served, **asked: Any) -> Any:
    answer = served.client.get("/v1/statistics", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_without_anything_there_are_thirty_empty_days(served: Served) -> None:
    found = statistics(served)
    nothing = {"answers": 0, "accepted": 0, "quarantined": 0, "rejected": 0, "nothing_wrong": 0}
    today = datetime.now(UTC).date()
    dates = [(today - timedelta(days)).isoformat() for days in range(29, -1, -1)]
    assert found["days"] == [{"date": date, **nothing} for date in dates]
    assert (found["object"], found["adapters"]) == ("statistics", [])
    assert set(found["kinds"].values()) == {0}
    assert found["next_run"] == {"new_corrections": 0, "needed": 7, "is_running": False}


def test_a_count_that_takes_long_is_the_one_before_and_says_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = statistics(served)
    assert before["counted"] == pytest.approx(time.time(), abs=60)
    count, may_end = served.store.statistics.by_day, threading.Event()

    def count_for_long(*asked: int) -> Any:
        may_end.wait()
        return count(*asked)

    monkeypatch.setattr(served.store.statistics, "by_day", count_for_long)
    served.store.responses.add(response("r1", created=time.time()))
    try:
        found = statistics(served)
        assert (found["days"], found["counted"]) == (before["days"], before["counted"])
    finally:
        may_end.set()
    wait_until(lambda: statistics(served)["days"][-1]["answers"] == 1)


def test_a_version_s_share_of_corrected_answers_has_its_interval(served: Served) -> None:
    """1 of 4, worked by hand: z^2 = 3.8416, scale = 1 + z^2 / 4 = 1.9604, centre = (0.25 + z^2 / 8) / scale = 0.372475,
    half = 1.96 * sqrt(0.25 * 0.75 / 4 + z^2 / 64) / scale = 1.96 * 0.326956 / 1.9604 = 0.326889.
    """
    now = time.time()
    for number in range(4):
        served.store.responses.add(response(f"r{number}", created=now))
    served.store.responses.add(response("other", created=now, adapter="v0001"))
    served.store.responses.add(response("imported", created=now, adapter=IMPORTED))
    served.store.responses.add(response("erased", created=now, text="Forget me."))
    for name, of in (("c1", "r0"), ("c2", "r0"), ("c3", "imported"), ("c4", "erased")):
        served.store.corrections.add(correction(name, response_id=of, created=now))
    served.store.corrections.add(
        correction("c5", response_id="r1", status="nothing_wrong", spans=[], created=now)
    )
    served.client.delete("/v1/responses/erased")
    found = statistics(served, days=1)
    base, other = found["adapters"]
    assert (base["version"], base["answers"], base["corrected"], base["nothing_wrong"]) == ("base", 4, 1, 1)
    assert (base["corrected_per_1000"], base["low"], base["high"]) == pytest.approx(
        (250.0, 45.586, 699.364), abs=0.01
    )
    assert (other["version"], other["answers"], other["corrected_per_1000"], other["low"]) == (
        "v0001",
        1,
        0.0,
        0.0,
    )
    assert other["high"] == pytest.approx(793.457, abs=0.01)  # 3.8416 / 4.8416
    (today,) = found["days"]
    del today["date"]
    assert today == {"answers": 5, "accepted": 2, "quarantined": 0, "rejected": 0, "nothing_wrong": 1}
    assert found["kinds"]["attribute"] == 2
    assert sum(found["kinds"].values()) == 2
    assert "Forget me." not in str(found)


def test_the_next_run_starts_with_what_no_run_has_seen(served: Served) -> None:
    store = served.store
    for number in range(3):
        store.responses.add(response(f"r{number}"))
        store.corrections.add(correction(f"c{number}", response_id=f"r{number}"))
    assert statistics(served)["next_run"] == {"new_corrections": 3, "needed": 7, "is_running": False}
    run = running(store)
    assert statistics(served)["next_run"]["is_running"]
    store.runs.update(store.runs.get(run), manifest={"last_sequence": 2})
    assert statistics(served)["next_run"]["new_corrections"] == 1
    store.runs.update(store.runs.get(run), status="refused", reason="not better")
    assert not statistics(served)["next_run"]["is_running"]
    store.runs.request("request")  # one that waits has seen nothing yet
    assert statistics(served)["next_run"] == {"new_corrections": 1, "needed": 7, "is_running": False}


def test_a_key_that_may_chat_sees_the_counts_of_all(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.store.responses.add(response("r1", key_id="somebody's"))
        headers = {
            scope: {"Authorization": f"Bearer {served.store.keys.create(scope, [scope])[1]}"}
            for scope in ("chat", "feedback")
        }
        found = served.client.get("/v1/statistics", headers=headers["chat"]).json()
        assert [one["answers"] for one in found["adapters"]] == [1]
        error(served.client.get("/v1/statistics", headers=headers["feedback"]), 403)


@pytest.mark.parametrize("days", ["0", "367", "many"])
def test_days_that_cannot_be_counted_are_refused(served: Served, days: str) -> None:
    assert error(served.client.get("/v1/statistics", params={"days": days}), 400)["param"] == "days"
