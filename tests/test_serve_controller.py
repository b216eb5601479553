"""Ray Serve's controller where the wall clock is set back, behind a clock that the test sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from served import wait_until

from benchmarks.chaos import clock
from benchmarks.chaos.processes import of_role
from serve.controller import SteadyTime
from serve.demo.server import free_port, server
from serve.settings import Settings

HALF_AN_HOUR_S = 1800.0


def test_steady_time_goes_on_whatever_the_wall_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    steady, began = SteadyTime(), time.time()
    assert steady.time() == pytest.approx(began, abs=1.0)
    monkeypatch.setattr(time, "time", lambda: began - HALF_AN_HOUR_S)
    assert steady.time() == pytest.approx(began, abs=1.0)
    assert steady.sleep is time.sleep


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of the processes that the test starts."""
    if not clock.can_be_held():
        pytest.skip("a library is put before the clock's: Linux, and a C compiler")
    for name, value in clock.environment().items():
        monkeypatch.setenv(name, value)
    with clock.let_go():
        yield


@pytest.mark.cluster
@pytest.mark.usefixtures("_clock")
def test_what_dies_after_the_clock_was_set_back_is_replaced(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, port=free_port(), num_replicas=1)
    with server(settings) as up:
        own = psutil.Process(up.pid)
        wait_until(lambda: bool(of_role("aligner", own.children(recursive=True))), 60)
        clock.set_to(-HALF_AN_HOUR_S)
        for role in ("replica", "controller", "replica"):  # the last one needs a proxy that hears of it
            (victim,) = of_role(role, own.children(recursive=True))
            victim.kill()
            victim.wait(30)
            wait_until(_answers(settings), 90)


def _answers(settings: Settings) -> Callable[[], bool]:
    def is_ready() -> bool:
        try:
            answer = httpx.get(f"http://{settings.host}:{settings.port}/readyz", timeout=10, trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    return is_ready
