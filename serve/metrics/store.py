"""What the store knows, the same from whichever replica it is asked: the aligner's figures, too, since all that it does
is written there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from align.state import Store
from serve.settings import Settings

from .adapters import adapter_figures
from .families import labelled, single
from .runs import run_figures


class StoreCollector(Collector):
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def collect(self) -> Iterable[Metric]:
        yield from correction_figures(self._store, self._settings.alignment.min_corrections)
        yield expired_figure(self._store, self._settings.retention.responses_days)
        yield from run_figures(self._store.runs)
        yield from adapter_figures(self._store, self._settings)


def expired_figure(store: Store, days: float | None) -> Metric:
    number = 0 if days is None else store.expiry.count_responses(time.time() - days * 86_400)
    text = "Answers that are due to be erased by their age and are not yet, at most 10,000"
    return single("errata_expired_responses", text, number)


def correction_figures(store: Store, needed: int) -> Iterable[Metric]:
    # gauges: a correction that is erased leaves its former status
    yield labelled(
        "errata_corrections", "Corrections by status", "status", store.corrections.count_by_status()
    )
    yield labelled(
        "errata_recorded_responses",
        "Answers on record, by the version that gave them",
        "adapter",
        store.responses.count_by_adapter(),
    )
    yield labelled(
        "errata_corrected_responses",
        "Answers with an accepted correction",
        "adapter",
        store.outcomes.count_corrected(),
    )
    yield labelled(
        "errata_quarantined_corrections",
        "Corrections that wait for a reviewer",
        "reason",
        store.reviews.count_by_reason(),
    )
    new = store.corrections.count_after(store.runs.learned_up_to())
    yield single("errata_new_corrections", "Corrections that no run has seen yet", new)
    yield single("errata_new_corrections_needed", "How many of them start a run", needed)
