"""How the answers of all replicas become one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .store import StoreCollector


def deployment_page(shared: StoreCollector, pages: Mapping[str, str]) -> bytes:
    """One exposition of the store's figures and of each replica's page, told apart by a `replica` label."""
    registry = CollectorRegistry()
    registry.register(shared)
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
