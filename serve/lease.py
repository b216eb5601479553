"""Whether this process is the one that works: it holds a lease on the database, or stands by until it gets it.

Counted as held only until its time is over by this process's own clock, counted from before it was asked for: who
cannot reach the database has stopped before anybody else can begin. Knows nothing of what is done meanwhile.
"""

from __future__ import annotations

import time
import uuid

import structlog

from align.state.leases import Leases

log = structlog.get_logger()

LENGTH_S = 20.0
"""How long nobody works where the one that does has died without a word."""


class Lease:
    def __init__(self, leases: Leases, name: str, length_s: float, holder: str | None = None) -> None:
        """`holder` is this process's alone, and a new one by default."""
        self._leases, self._name, self._length_s = leases, name, length_s
        self._holder = holder or uuid.uuid4().hex
        self._held_until = self._next = 0.0
        self._is_said_to_be_held: bool | None = None
        self.num_taken = 0  # how often it was taken when it was not held

    @property
    def is_held(self) -> bool:
        return time.monotonic() < self._held_until

    @property
    def renew_s(self) -> float:
        """So often at least, `step` is to be called."""
        return self._length_s / 3

    def step(self) -> None:
        """Renew it, or take it if it is free; unless the last look was less than a third of its length ago."""
        before = time.monotonic()
        if before < self._next:
            return
        self._next = before + self.renew_s
        was_held = self.is_held
        is_taken = self._leases.take(self._name, self._holder, self._length_s)
        self._held_until = before + self._length_s if is_taken else 0.0
        self.num_taken += is_taken and not was_held
        if is_taken != self._is_said_to_be_held:
            self._is_said_to_be_held = is_taken
            log.info("lease", name=self._name, state="held" if is_taken else "held by another process")

    def release(self) -> None:
        """At once the next one's who asks."""
        self._held_until = 0.0
        self._leases.release(self._name, self._holder)
