"""/v1/statistics: how many answers and corrections there are, and how far the next run is. Counts, and no words."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from align.state import Store
from align.state.statistics import DAY_S, Day, Tally
from align.wilson import wilson
from serve.metrics import Counted
from serve.replica import Replica

from .auth import may_chat
from .schema import DayAnswer, NextRun, StatisticsAnswer, StatisticsQuery, VersionAnswer
from .statuses import refusals

FIRST_DAY = date(1970, 1, 1)


def statistics_router(replica: Replica) -> APIRouter:
    router, statistics = APIRouter(prefix="/v1/statistics"), _Statistics(replica.store)

    @router.get("", dependencies=[Depends(may_chat)], responses=refusals(400))
    async def count(query: Annotated[StatisticsQuery, Query()]) -> StatisticsAnswer:
        """Answers and corrections by day, kinds of what was wrong, corrected answers by version, the next run."""
        needed = replica.settings.alignment.min_corrections
        return await run_in_threadpool(statistics.of, query.days, needed)

    return router


class _Statistics:
    """Remembers what it counted, where that takes long."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions = Counted(store.statistics.by_version)
        self._days: dict[int, Counted[_Days]] = {}  # by how many they are

    def of(self, num_days: int, needed: int) -> StatisticsAnswer:
        days = self._days.setdefault(num_days, Counted(partial(_count_days, self._store, num_days))).some()
        versions = self._versions.some()
        return StatisticsAnswer(
            counted=min(days.begun, versions.begun),
            days=[_day(day) for day in days.value.days],
            kinds=days.value.kinds,
            adapters=[_version(tally) for tally in versions.value],
            next_run=NextRun(
                new_corrections=self._store.corrections.count_after(self._store.runs.learned_up_to()),
                needed=needed,
                is_running=bool(self._store.runs.under_way()),
            ),
        )


@dataclass(frozen=True)
class _Days:
    days: list[Day]
    kinds: dict[str, int]


def _count_days(store: Store, num_days: int) -> _Days:
    today = int(time.time() // DAY_S)
    return _Days(store.statistics.by_day(today, num_days), store.statistics.kinds(today, num_days))


def _day(day: Day) -> DayAnswer:
    return DayAnswer(
        date=(FIRST_DAY + timedelta(day.number)).isoformat(), answers=day.num_answers, **day.num_corrections
    )


def _version(tally: Tally) -> VersionAnswer:
    low, high = wilson(tally.num_corrected, tally.num_answers)
    return VersionAnswer(
        version=tally.version,
        answers=tally.num_answers,
        corrected=tally.num_corrected,
        nothing_wrong=tally.num_nothing_wrong,
        corrected_per_1000=1000 * tally.num_corrected / tally.num_answers,
        low=1000 * low,
        high=1000 * high,
    )
