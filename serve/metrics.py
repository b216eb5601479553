"""What one process measures, and how the answers of all replicas become one page.

Names: prefix `errata_`, base units. No ids of users or responses in labels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from wsgiref.simple_server import WSGIServer

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from align.state import Store

from .engine.protocol import Engine

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


class StoreCollector(Collector):
    """What the store knows, the same from whichever replica it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        # a gauge: a correction that is erased leaves its former status
        corrections = GaugeMetricFamily("errata_corrections", "Corrections by status", labels=["status"])
        for status, number in self._store.corrections.count_by_status().items():
            corrections.add_metric([status], number)
        yield corrections
        corrected = GaugeMetricFamily(
            "errata_corrected_responses", "Answers with an accepted correction", labels=["adapter"]
        )
        for adapter, number in self._store.outcomes.count_corrected().items():
            corrected.add_metric([adapter], number)
        yield corrected
        quarantined = GaugeMetricFamily(
            "errata_quarantined_corrections", "Corrections that wait for a reviewer", labels=["reason"]
        )
        for reason, number in self._store.reviews.count_by_reason().items():
            quarantined.add_metric([reason], number)
        yield quarantined
        runs = GaugeMetricFamily("errata_runs", "The last 100 alignment runs by status", labels=["status"])
        statuses = [run.status for run in self._store.runs.recent()]
        for status in sorted(set(statuses)):
            runs.add_metric([status], statuses.count(status))
        yield runs
        rollout = self._store.rollouts.in_force()
        yield GaugeMetricFamily(
            "errata_rollout_generation", "The rollout generation in force", value=rollout.generation
        )
        live = GaugeMetricFamily("errata_live_adapter_info", "The version that is live", labels=["version"])
        live.add_metric([rollout.live], 1)
        yield live


def deployment_page(store: Store, pages: Mapping[str, str]) -> bytes:
    """One exposition of the store's figures and of each replica's page, told apart by a `replica` label."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(store))
    registry.register(_Gathered(pages))
    return generate_latest(registry)


class _Gathered(Collector):
    def __init__(self, pages: Mapping[str, str]) -> None:
        self._pages = pages

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for replica, page in sorted(self._pages.items()):
            for family in text_string_to_metric_families(page):
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "replica": replica}
                    merged.add_sample(sample.name, labels, sample.value, sample.timestamp, sample.exemplar)
        up = GaugeMetricFamily(
            "errata_replicas", "Replicas that answered this scrape", value=len(self._pages)
        )
        return [up, *families.values()]


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def read(self) -> float:
        return time.perf_counter() - self._start
