"""Every metric, from the registries that a replica shows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from align.state import Store
from serve.metrics import ReplicaMetrics, StoreCollector, deployment_page
from serve.settings import Settings

from .tables import table

INTRODUCTION = """# Metrics

`GET /metrics` on any replica answers for all of them, for Prometheus, each figure of a replica with its name in the
label `replica`. `GET /metrics/targets` names each by itself, for `http_sd_configs`. No label holds
the id of a user or of an answer. While the database is away, `errata_database_up` is 0, the page holds the figures of
the replica that answers, and the rest of what is below is missing.
"""


def page() -> str:
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), words)
        for name, kind, labels, words in metrics()
    ]
    return INTRODUCTION + "\n" + table(("metric", "kind", "labels", ""), rows)


def metrics() -> list[tuple[str, str, list[str], str]]:
    """Name as it is scraped, kind, labels and words."""
    engine: Any = SimpleNamespace(
        stats=lambda: SimpleNamespace(num_running=0, num_waiting=0, max_waiting=0, num_slots=0, adapters=())
    )
    replica = ReplicaMetrics(engine, Path.cwd())
    found = [
        (_scraped(one), one.type, ["replica", *_labels(collector)], one.documentation)
        for collector in replica.registry._collector_to_names
        for one in _described(collector)
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state=Path(folder))
        store = Store(settings.database_url)
        found += [
            (one.name, one.type, list(getattr(one, "_labelnames", ())), one.documentation)
            for one in StoreCollector(store, settings).collect()
        ]
        store.close()
    of_the_page = text_string_to_metric_families(deployment_page(None, {}).decode())
    found += [(one.name, one.type, [], one.documentation) for one in of_the_page]
    return sorted(found)


def _described(collector: Collector) -> list[Metric]:
    return list(collector.describe() if hasattr(collector, "describe") else collector.collect())


def _labels(collector: Collector) -> tuple[str, ...]:
    return tuple(getattr(collector, "_labelnames", ()))


def _scraped(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name
