"""When a proxy ends because it would hear of nothing any more. `test_serve_controller.py` has a real one end."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import ray

from serve import proxy_watchdog
from serve.proxy_watchdog import BACK_S, Hearing

HALF_AN_HOUR_S = 1800.0


class World:
    """A wall clock that is set, and the process that is the controller."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.past_s, self.offset_s, self.controller = 0.0, 0.0, 1
        began = time.time()
        monkeypatch.setattr(time, "time", lambda: began + self.past_s + self.offset_s)
        self.hearing = Hearing(lambda: self.controller or None)

    def is_lost(self, *, offset_s: float, controller: int) -> bool:
        self.offset_s, self.controller = offset_s, controller
        return self.hearing.is_lost()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(monkeypatch)
    assert not world.hearing.is_lost()
    return world


def test_a_controller_that_was_replaced_while_the_clock_is_set_back_is_not_heard(world: World) -> None:
    assert not world.is_lost(offset_s=-HALF_AN_HOUR_S, controller=1)
    assert not world.is_lost(offset_s=-HALF_AN_HOUR_S, controller=0), "it may be starting"
    assert world.is_lost(offset_s=-HALF_AN_HOUR_S, controller=2)


def test_nor_is_one_after_a_clock_that_was_set_forward_and_then_right_again(world: World) -> None:
    assert not world.is_lost(offset_s=HALF_AN_HOUR_S, controller=1)
    assert world.is_lost(offset_s=0.0, controller=2)


@pytest.mark.parametrize("offset_s", [0.0, HALF_AN_HOUR_S, -BACK_S / 2])
def test_a_controller_that_was_replaced_is_heard_where_the_clock_went_on(
    world: World, offset_s: float
) -> None:
    assert not world.is_lost(offset_s=offset_s, controller=1)
    assert not world.is_lost(offset_s=offset_s, controller=2)


def test_it_is_heard_again_once_the_clock_is_as_late_as_before(world: World) -> None:
    assert not world.is_lost(offset_s=-HALF_AN_HOUR_S, controller=1)
    world.past_s = HALF_AN_HOUR_S
    assert not world.is_lost(offset_s=-HALF_AN_HOUR_S, controller=2)


@pytest.mark.parametrize(
    ("actor", "is_watched"),
    [
        ("SERVE_PROXY_ACTOR-1f2e", True),
        ("SERVE_PROXY_ACTOR-fallback-1f2e", True),
        ("SERVE_REPLICA::errata#ModelServer#x1y2", False),
        (None, False),
    ],
)
def test_only_a_proxy_s_process_can_be_ended_and_never_a_replica_s(
    monkeypatch: pytest.MonkeyPatch, actor: str | None, is_watched: bool
) -> None:
    begun = threading.Event()
    context = SimpleNamespace(get_actor_name=lambda: actor)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(proxy_watchdog, "_watch", begun.set)
    proxy_watchdog.watch()
    assert begun.wait(10.0 if is_watched else 0.2) == is_watched
