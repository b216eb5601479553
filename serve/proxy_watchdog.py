"""Ends a proxy of Ray Serve that would hear of no change any more; another one comes, which does.

A proxy waits for the controller to tell what has changed. Where that one ends, Ray asks the next one, by a timer that
goes by the wall clock (2.60): where this was set back, not until it is as late again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import ray
import structlog

log = structlog.get_logger()

LOOK_S = 1.0
BACK_S = 5.0
"""Set back by less than this, the clock is soon as late again."""
ANSWER_S = 5.0
PROXY = "SERVE_PROXY_ACTOR"
"""What the name of each proxy's actor begins with."""


class Hearing:
    """Of one proxy. `controller` tells which process the controller is, `None` where it does not answer."""

    def __init__(self, controller: Callable[[], int | None]) -> None:
        self._controller = controller
        self._latest = time.time()
        self._heard: int | None = None

    def is_lost(self) -> bool:
        """To be asked again and again."""
        now, controller = time.time(), self._controller()
        if now < self._latest - BACK_S and None not in (self._heard, controller):
            return controller != self._heard
        self._latest, self._heard = max(now, self._latest), controller or self._heard
        return False


def watch() -> None:
    """This process, if it is a proxy's: Ray Serve asks replicas that answer without one for its middleware, too."""
    if (ray.get_runtime_context().get_actor_name() or "").startswith(PROXY):
        threading.Thread(target=_watch, name="proxy-watchdog", daemon=True).start()


def _watch() -> None:
    hearing = Hearing(_controller)
    while not hearing.is_lost():
        time.sleep(LOOK_S)
    log.warning("the controller was replaced while the clock is set back: this proxy ends, another one comes")
    os._exit(1)


def _controller() -> int | None:
    try:
        controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
        return int(ray.get(controller.get_pid.remote(), timeout=ANSWER_S))
    except (ValueError, ray.exceptions.RayError):
        return None
