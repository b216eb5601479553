"""Whether training should pause now, so that answers keep their pace on a machine that both share.

Every pause measures how answers run without training; what is far above that is training's doing. Where pauses have to
follow each other at once, each is twice as long as the one before, so that few tokens meet the work between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from align.state import Store
from align.state.database import AWAY

from .settings import YieldSettings

log = structlog.get_logger()

WINDOW_S = 4.0
"""After so long all that replicas report is of the time since: their window, that between two reports, some more."""
LOOK_S = 0.5
"""Between two looks at what they report."""


class Yielding:
    def __init__(self, settings: YieldSettings, max_gap_ratio: float) -> None:
        self._settings, self._max_gap_ratio = settings, max_gap_ratio
        self._steady: float | None = None
        self._measured_at = 0.0
        self._is_paused = False
        self._since = 0.0  # of the pause, or of the work since the last one
        self._pause_s = WINDOW_S

    def should_pause(self, gap_p95_s: float | None, now: float) -> bool:
        """`gap_p95_s`: between two tokens of one answer, the 95th percentile; none where nobody is being answered.
        `now` is monotonic. Both in seconds."""
        if gap_p95_s is None:
            self._steady = None  # the next load will be another one
            self._turn(False, now)
        elif self._is_paused:
            if now - self._since >= self._pause_s:
                self._steady, self._measured_at = gap_p95_s, now
                self._turn(False, now)
        elif self._steady is None or now - self._measured_at > self._settings.remeasure_s:
            self._turn(True, now)
        elif now - self._since >= WINDOW_S:
            self._judge(gap_p95_s / self._steady, now)
        return self._is_paused

    def _judge(self, ratio: float, now: float) -> None:
        if ratio <= self._max_gap_ratio:
            self._pause_s = WINDOW_S
            return
        self._pause_s = min(2 * self._pause_s, self._settings.max_pause_s)
        log.info("training pauses", gap_ratio=round(ratio, 2), seconds=self._pause_s)
        self._turn(True, now)

    def _turn(self, is_paused: bool, now: float) -> None:
        if is_paused != self._is_paused:
            self._is_paused, self._since = is_paused, now


def watch(store: Store, settings: YieldSettings, dead_after_s: float) -> Callable[[], bool]:
    """Whether to pause by what the slowest replica reports; looked up now and then, however often it is asked."""
    if settings.max_gap_ratio is None:
        return lambda: False
    yielding, answer, last = Yielding(settings, settings.max_gap_ratio), False, -LOOK_S

    def should_pause() -> bool:
        nonlocal answer, last
        now = time.monotonic()
        if now - last >= LOOK_S:
            last = now
            try:
                replicas = store.replicas.alive(dead_after_s)
            except AWAY:
                return answer
            gaps = [replica.gap_p95_s for replica in replicas]
            answer = yielding.should_pause(max((gap for gap in gaps if gap is not None), default=None), now)
        return answer

    return should_pause
