"""What one process measures about itself, on a port of its own for the others to gather.

Names: prefix `errata_`, base units. No ids of users or responses in labels.
"""

from __future__ import annotations

import threading
from contextlib import suppress
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


class ReplicaMetrics:
    """One replica's registry, served on a port of its own for the others to gather."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "errata_requests", "HTTP requests answered", ["route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "errata_request_seconds",
            "Time to the last byte",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first_token_seconds = Histogram(
            "errata_first_token_seconds",
            "From the request's arrival to its first token",
            ["adapter"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.responses = Counter(
            "errata_responses", "Answers given", ["adapter", "finish_reason"], registry=self.registry
        )
        self.failed_responses = Counter(
            "errata_failed_responses",
            "Answers that ended with an error",
            ["adapter", "reason"],
            registry=self.registry,
        )
        self.generated_tokens = Counter(
            "errata_generated_tokens", "Tokens of answers", ["adapter"], registry=self.registry
        )
        gauges = {
            "errata_sequences_running": ("Sequences being decoded", lambda: engine.stats().num_running),
            "errata_sequences_waiting": ("Sequences waiting for a slot", lambda: engine.stats().num_waiting),
            "errata_sequence_slots": ("Key/value slots", lambda: engine.stats().num_slots),
            "errata_adapters_resident": ("Adapter versions loaded", lambda: len(engine.stats().adapters)),
            "errata_resident_memory_bytes": (
                "Memory in use, of the process and of its engine's",
                _resident_bytes,
            ),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(read)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

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
