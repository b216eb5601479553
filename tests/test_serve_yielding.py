"""Training that makes way for answers: when it pauses, for how long, and that it still gets somewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import update

from align.state import Replica, Store, schema
from serve import yielding
from serve.gaps import MIN_NUM, Gaps
from serve.settings import YieldSettings
from serve.yielding import WINDOW_S, Yielding, watch

STEADY_S = 0.02


def paused(gap: Callable[[bool, float], float | None], seconds: float, step_s: float = 0.5) -> list[bool]:
    """Whether training was paused at each look, where `gap` answers by whether it is paused, and when."""
    one, is_paused, looks = Yielding(YieldSettings(), 1.25), False, []
    for look in range(int(seconds / step_s)):
        is_paused = one.should_pause(gap(is_paused, look * step_s), 1000 + look * step_s)
        looks.append(is_paused)
    return looks


def share(looks: list[bool]) -> float:
    return sum(looks) / len(looks)


def test_nobody_who_is_answered_means_no_pause() -> None:
    assert not any(paused(lambda is_paused, at: None, 60))


def test_the_first_pause_measures_how_answers_run_without_training() -> None:
    looks = paused(lambda is_paused, at: STEADY_S, 60)
    assert looks[: int(WINDOW_S / 0.5)] == [True] * int(WINDOW_S / 0.5)
    assert not any(looks[int(WINDOW_S / 0.5) :])


def test_training_that_disturbs_no_one_is_measured_again_and_else_left_alone() -> None:
    looks = paused(lambda is_paused, at: STEADY_S if is_paused else 1.2 * STEADY_S, 600)
    assert 0.02 < share(looks) < 0.05


def test_training_that_disturbs_gets_less_and_less_of_the_time_but_some() -> None:
    looks = paused(lambda is_paused, at: STEADY_S if is_paused else 3 * STEADY_S, 600)
    assert share(looks[:60]) < share(looks)
    assert 0.9 < share(looks[-300:]) < 0.95


def test_a_load_that_grows_by_itself_is_the_new_measure() -> None:
    looks = paused(lambda is_paused, at: STEADY_S if at < 60 else 4 * STEADY_S, 200)
    assert any(looks[120:160])
    assert share(looks[160:]) < 0.05


def test_training_that_disturbs_no_more_is_let_go_on() -> None:
    def gap(is_paused: bool, at: float) -> float:
        return 3 * STEADY_S if at < 100 and not is_paused else STEADY_S

    looks = paused(gap, 400)
    assert share(looks[100:200]) > 0.5
    assert share(looks[-300:]) < 0.1


def test_the_slowest_replica_that_is_alive_decides(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5000.0
    monkeypatch.setattr(yielding.time, "monotonic", lambda: now)

    def report(name: str, gap_p95_s: float | None) -> None:
        store.replicas.report(Replica(name, 0.0, "", 0, None, [], gap_p95_s))

    def is_paused_with(slow: float | None) -> bool:
        nonlocal now
        now += WINDOW_S
        report("idle", None)
        report("quick", STEADY_S)
        report("slow", slow)
        return should_pause()

    report("dead", 9.0)
    with store.database.write() as connection:
        connection.execute(update(schema.replicas).values(heartbeat=0.0))
    should_pause = watch(store, YieldSettings(), dead_after_s=60.0)
    assert is_paused_with(STEADY_S)
    assert not is_paused_with(STEADY_S)
    assert not is_paused_with(1.2 * STEADY_S)
    assert is_paused_with(1.3 * STEADY_S)


def test_no_ratio_means_no_pause(store: Store) -> None:
    store.replicas.report(Replica("r", 2e9, "", 0, None, [], 9.0))
    assert not watch(store, YieldSettings(max_gap_ratio=None), dead_after_s=5.0)()


def test_gaps_are_told_of_the_last_seconds_where_there_are_enough() -> None:
    now = 100.0
    gaps = Gaps(window_s=2.0, clock=lambda: now)
    for _ in range(MIN_NUM - 1):
        gaps.add(1.0)
    assert gaps.p95() is None
    gaps.add(1.0)
    assert gaps.p95() == 1.0
    now = 101.5
    for number in range(100):
        gaps.add(number / 100)
    assert gaps.p95() == 1.0
    now = 103.0
    assert gaps.p95() == pytest.approx(0.9405)
