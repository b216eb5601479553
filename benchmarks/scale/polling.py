"""Many replicas that follow one database: each polls it, waits and polls again, and now and then reports that it lives.

They share the connections of one process. A real replica has connections of its own, whose memory is measured apart.
"""

from __future__ import annotations

import heapq
import random
import statistics
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from align.state import Replica, Store
from align.state.rollouts import BASE
from serve.rollout_settings import RolloutSettings

NUM_THREADS = 8
"""Fewer than a process has connections. More of them wait for each other, and ask no more."""


@dataclass(frozen=True)
class Polling:
    replicas: int
    poll_s: float
    wanted_per_s: float
    polls_per_s: float
    p50_ms: float  # from when a poll was due to when it was answered
    p99_ms: float
    database_cpu_ms: (
        float | None
    )  # a poll, its share of heartbeats included; none where it is no process of its own
    database_cores: float | None
    asking_cores: float  # of the process that asks for all of them, which has no more than one for Python


def poll(url: str, num_replicas: int, poll_s: float, seconds: float, server: int | None = None) -> Polling:
    """`server`: PostgreSQL's first process, whose children work."""
    store = Store(url)
    try:
        replicas = _Replicas(store, num_replicas, poll_s, until=time.monotonic() + seconds)
        before, own, started = _cpu_s(server), time.process_time(), time.monotonic()
        took = replicas.run()
        elapsed, cpu_s = time.monotonic() - started, _cpu_s(server) - before
        own = time.process_time() - own
    finally:
        store.close()
    return Polling(
        num_replicas,
        poll_s,
        round(num_replicas / poll_s),
        round(len(took) / elapsed, 1),
        round(statistics.median(took), 1),
        round(sorted(took)[len(took) * 99 // 100], 1),
        round(cpu_s * 1000 / len(took), 3) if server else None,
        round(cpu_s / elapsed, 2) if server else None,
        round(own / elapsed, 2),
    )


class _Replicas:
    """Whoever is due next is polled for by the next free thread."""

    def __init__(self, store: Store, number: int, poll_s: float, until: float) -> None:
        now, rng = time.monotonic(), random.Random(0)
        self._store, self._poll_s, self._until = store, poll_s, until
        self._heartbeat_s = RolloutSettings().heartbeat_s
        self._lock = threading.Lock()
        self._due = [(now + rng.uniform(0, poll_s), replica) for replica in range(number)]
        heapq.heapify(self._due)
        self._next_report = [now + rng.uniform(0, self._heartbeat_s) for _ in range(number)]
        self._took: list[float] = []
        self._failure: BaseException | None = None

    def run(self) -> list[float]:
        """Milliseconds. Raises what a poll raised."""
        threads = [threading.Thread(target=self._work) for _ in range(NUM_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return self._took

    def _work(self) -> None:
        try:
            while self._failure is None:
                with self._lock:
                    if not self._due or self._due[0][0] > self._until or time.monotonic() > self._until:
                        return
                    due, replica = heapq.heappop(self._due)
                time.sleep(max(0.0, due - time.monotonic()))
                self._step(replica)
                ended = time.monotonic()
                with self._lock:
                    self._took.append((ended - due) * 1000)
                    heapq.heappush(self._due, (ended + self._poll_s, replica))
        except BaseException as failure:  # of any thread, for the one that waits for all of them
            self._failure = failure

    def _step(self, replica: int) -> None:
        """As a reconciler with nothing to load."""
        self._store.rollouts.desired()
        now = time.monotonic()
        if now >= self._next_report[replica]:
            self._next_report[replica] = now + self._heartbeat_s
            self._store.replicas.report(
                Replica(f"replica-{replica}", time.time(), "http://10.0.0.1:8000", 0, None, [BASE])
            )


def _cpu_s(server: int | None) -> float:
    """Of those that have ended meanwhile, too: their parent waits for them."""
    if server is None:
        return 0.0
    process = psutil.Process(server)
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children():
        with suppress(psutil.NoSuchProcess):
            its = child.cpu_times()
            total += its.user + its.system
    return float(total)
