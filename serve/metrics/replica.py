"""What one process measures about itself, on a port of its own for the others to gather.

Names: prefix `errata_`, base units. No ids of users or responses in labels.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

from serve.engine.protocol import Engine

# a `_created` series beside each counter would double what Prometheus keeps
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
FINE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class ReplicaMetrics:
    """One replica's registry. `state` is the folder whose disk is watched."""

    def __init__(self, engine: Engine, state: Path) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "HTTP requests answered", "route", "status")
        self.requests_in_progress = Gauge(
            "errata_requests_in_progress", "HTTP requests under way, streams included", registry=self.registry
        )
        self.request_seconds = self._histogram("request_seconds", "Time to the last byte", "route")
        self.first_token_seconds = self._histogram(
            "first_token_seconds", "From the request's arrival to its first token", "adapter"
        )
        self.token_seconds = self._histogram(
            "token_seconds",
            "Of an answer, the mean time from one token to the next",
            "adapter",
            buckets=FINE_SECONDS,
        )
        self.record_seconds = self._histogram(
            "record_seconds", "Until an answer's record is on disk, which its last words wait for"
        )
        self.responses = self._counter("responses", "Answers given", "adapter", "finish_reason")
        self.failed_responses = self._counter(
            "failed_responses", "Answers that ended with an error", "adapter", "reason"
        )
        self.generated_tokens = self._counter("generated_tokens", "Tokens of answers", "adapter")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts", "adapter")
        self.read_prompt_tokens = self._counter(
            "read_prompt_tokens",
            "Tokens of prompts by what an answer began with: read (new), or kept from an earlier prompt (reused)",
            "adapter",
            "source",
        )
        gauges = {
            "errata_sequences_running": ("Sequences being decoded", lambda: engine.stats().num_running),
            "errata_sequences_waiting": ("Sequences waiting for a slot", lambda: engine.stats().num_waiting),
            "errata_sequences_waiting_limit": (
                "Sequences that may wait; beyond them the answer is 429",
                lambda: engine.stats().max_waiting,
            ),
            "errata_sequence_slots": ("Key/value slots", lambda: engine.stats().num_slots),
            "errata_adapters_resident": ("Adapter versions loaded", lambda: len(engine.stats().adapters)),
            "errata_resident_memory_bytes": (
                "Memory in use, of the process and of its engine's",
                _resident_bytes,
            ),
            "errata_disk_free_bytes": (
                "Left on the disk of the state folder",
                lambda: shutil.disk_usage(state).free,
            ),
            "errata_disk_size_bytes": (
                "Size of the disk of the state folder",
                lambda: shutil.disk_usage(state).total,
            ),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(read)
        build = Gauge("errata_build_info", "The server's version", ["version"], registry=self.registry)
        build.labels(version("errata-server")).set(1)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"errata_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(f"errata_{name}", text, labels, buckets=buckets, registry=self.registry)

    def listen(self, address: str) -> str:
        """Serve this replica's own page on a free port; returns its URL."""
        self._server, self._thread = start_http_server(0, addr=address, registry=self.registry)
        return f"http://{address}:{self._server.server_port}/metrics"

    def close(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


def _resident_bytes() -> int:
    process = psutil.Process()
    total: int = process.memory_info().rss
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += child.memory_info().rss
    return total
