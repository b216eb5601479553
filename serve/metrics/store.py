"""What the store knows, the same from whichever replica it is asked: the aligner's figures, too, since all that it does
is written there. What has to be counted over whole tables may be of some time ago, and says of when it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from align.state import Store
from serve.settings import Settings

from .adapters import adapter_figures
from .counted import Count, Counted
from .families import labelled, single
from .runs import run_figures


@dataclass(frozen=True)
class Tallies:
    """What grows with the answers and corrections there are."""

    corrections: dict[str, int]  # by status
    responses: dict[str, int]  # by adapter
    corrected: dict[str, int]  # by adapter
    quarantined: dict[str, int]  # by reason


NONE_YET = Tallies({}, {}, {}, {})


def tallies(store: Store) -> Tallies:
    return Tallies(
        store.corrections.count_by_status(),
        store.responses.count_by_adapter(),
        store.outcomes.count_corrected(),
        store.reviews.count_by_reason(),
    )


class StoreCollector(Collector):
    """One for each process, since it remembers what it has counted."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._tallies = Counted(partial(tallies, store))

    def collect(self) -> Iterable[Metric]:
        yield from tally_figures(self._tallies.newest())
        yield from new_figures(self._store, self._settings.alignment.min_corrections)
        yield expired_figure(self._store, self._settings.retention.responses_days)
        yield from run_figures(self._store.runs)
        yield from adapter_figures(self._store, self._settings)


def expired_figure(store: Store, days: float | None) -> Metric:
    number = 0 if days is None else store.expiry.count_responses(time.time() - days * 86_400)
    text = "Answers that are due to be erased by their age and are not yet, at most 10,000"
    return single("errata_expired_responses", text, number)


def tally_figures(count: Count[Tallies] | None) -> Iterable[Metric]:
    """Before the first count, families without a sample."""
    found = NONE_YET if count is None else count.value
    # gauges: a correction that is erased leaves its former status
    yield labelled("errata_corrections", "Corrections by status", "status", found.corrections)
    yield labelled(
        "errata_recorded_responses",
        "Answers on record, by the version that gave them",
        "adapter",
        found.responses,
    )
    yield labelled(
        "errata_corrected_responses", "Answers with an accepted correction", "adapter", found.corrected
    )
    yield labelled(
        "errata_quarantined_corrections", "Corrections that wait for a reviewer", "reason", found.quarantined
    )
    yield single(
        "errata_counted_timestamp_seconds",
        "When the replica that answered began to count corrections and answers: of large stores, some time ago",
        None if count is None else count.begun,
    )


def new_figures(store: Store, needed: int) -> Iterable[Metric]:
    new = store.corrections.count_after(store.runs.learned_up_to())
    yield single("errata_new_corrections", "Corrections that no run has seen yet", new)
    yield single("errata_new_corrections_needed", "How many of them start a run", needed)
