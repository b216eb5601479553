"""How the answers of all replicas become one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .families import single
from .store import StoreCollector


def deployment_page(shared: StoreCollector | None, pages: Mapping[str, str]) -> bytes:
    """One exposition of the store's figures and of each replica's page, told apart by a `replica` label.

    `shared` is None where the database is away. Raises what is in `AWAY` where it is so only now.
    """
    registry = CollectorRegistry()
    if shared is not None:
        registry.register(shared)
    registry.register(_Gathered(pages, is_database_up=shared is not None))
    return generate_latest(registry)


class _Gathered(Collector):
    def __init__(self, pages: Mapping[str, str], is_database_up: bool) -> None:
        self._pages, self._is_database_up = pages, is_database_up

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
        replicas = single("errata_replicas", "Replicas that answered this scrape", len(self._pages))
        database = single(
            "errata_database_up",
            "Whether the database answered this scrape; without it, the page is of one replica alone",
            self._is_database_up,
        )
        return [replicas, database, *families.values()]
