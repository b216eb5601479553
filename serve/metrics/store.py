"""What the store knows, the same from whichever replica it is asked."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from align.state import Store


class StoreCollector(Collector):
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
