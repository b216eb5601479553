"""What servers, people and the aligner ask of a store again and again, timed through the store's own methods."""

from __future__ import annotations

import random
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count, islice

from align.state import Correction, Replica, Response, Store
from align.state.claims import Holder
from align.state.rollouts import BASE
from align.state.wanted import Wanted
from align.state.wanted_responses import WantedResponses

from .filling import NUM_DAYS, NUM_VERSIONS, Filled

DAY_S = 86_400
PAGE = 100
BATCH = 100
"""As `retention.batch`."""
MAX_REPEATS, MAX_S = 300, 2.0
"""Of each query: whichever comes first, but once at least."""


@dataclass(frozen=True)
class Timing:
    name: str
    who: str
    repeats: int
    p50_ms: float
    p99_ms: float  # the longest, where there are fewer than 100


def time_queries(store: Store, filled: Filled, on_query: Callable[[str], object]) -> list[Timing]:
    timings = []
    for (who, name), ask in _queries(store, filled, random.Random(0)).items():
        on_query(name)
        ask()  # its statement is composed and its plan's pages are read
        timings.append(_timing(who, name, ask))
    return timings


def _timing(who: str, name: str, ask: Callable[[], object]) -> Timing:
    took: list[float] = []
    deadline = time.monotonic() + MAX_S
    while not took or (len(took) < MAX_REPEATS and time.monotonic() < deadline):
        started = time.perf_counter()
        ask()
        took.append((time.perf_counter() - started) * 1000)
    p50, p99 = statistics.median(took), sorted(took)[min(len(took) - 1, len(took) * 99 // 100)]
    return Timing(name, who, len(took), round(p50, 2), round(p99, 2))


def _queries(store: Store, filled: Filled, rng: random.Random) -> dict[tuple[str, str], Callable[[], object]]:
    responses, corrections = store.responses, store.corrections
    template = responses.get(filled.some_answer(rng))
    said = corrections.page(1)[0]
    numbers = count(1)
    holder = Holder("key-1", "window")
    everything, uncorrected = WantedResponses(), WantedResponses(corrected=False)
    now = filled.last
    old = filled.first + NUM_DAYS * DAY_S / 2
    last_day = int(now // DAY_S)
    newest_version = f"v{10_000 + NUM_VERSIONS - 1}"

    def some_sequence() -> int:
        return rng.randint(PAGE, max(PAGE, filled.num_corrections))

    def add_answer() -> None:
        responses.add(replace(template, id=f"chatcmpl-{uuid.uuid4().hex}", created=time.time()))

    def add_correction() -> Correction:
        name = uuid.uuid4().hex
        return corrections.add(
            replace(
                said,
                id=f"corr-{name}",
                created=time.time(),
                response_id=filled.some_answer(rng),
                idempotency_key=name,
            )
        )

    def report() -> None:
        replica = Replica(
            f"replica-{next(numbers) % 1000}", time.time(), "http://10.0.0.1:8000", 1, None, [BASE]
        )
        store.replicas.report(replica)

    def page_of_answers() -> list[tuple[Response, int]]:
        return responses.matching(everything, PAGE, after=filled.some_answer(rng))

    def take_next() -> object:
        return store.claims.take_next(holder, uncorrected, now=time.time(), until=time.time() + 60)

    return {
        ("replica", "poll: desired state"): store.rollouts.desired,
        ("replica", "heartbeat"): report,
        ("request", "add an answer"): add_answer,
        ("request", "read an answer"): lambda: responses.get(filled.some_answer(rng)),
        ("request", "add a correction"): add_correction,
        ("reader", "page of corrections"): lambda: corrections.matching(Wanted(), PAGE, some_sequence()),
        ("reader", "page of quarantined corrections"): lambda: corrections.matching(
            Wanted(status="quarantined"), PAGE
        ),
        ("reader", "page of answers"): page_of_answers,
        ("page", "queue: next answer"): take_next,
        ("page", "queue: how many wait"): lambda: store.claims.count_waiting(
            holder, uncorrected, time.time()
        ),
        ("reviewer", "review: first page"): lambda: store.reviews.waiting(PAGE),
        ("reviewer", "review: last page"): lambda: store.reviews.waiting(PAGE, filled.num_corrections - 1),
        ("metrics", "waiting by reason"): store.reviews.count_by_reason,
        ("metrics", "corrections by status"): corrections.count_by_status,
        ("metrics", "answers by version"): responses.count_by_adapter,
        ("metrics", "corrected by version"): store.outcomes.count_corrected,
        ("metrics", "expired answers"): lambda: store.expiry.count_responses(old),
        ("statistics", "30 days"): lambda: store.statistics.by_day(last_day, 30),
        ("statistics", "by version"): store.statistics.by_version,
        ("aligner", "is a run due"): lambda: corrections.count_after(store.runs.learned_up_to()),
        ("aligner", "retention's step"): lambda: store.expiry.responses(old, BATCH),
        ("run", "origins of corrections"): corrections.origins,
        ("run", "first 10,000 corrections"): lambda: list(islice(corrections.trainable(), 10_000)),
        ("run", "uncorrected answers of the base"): lambda: responses.uncorrected(BASE),
        ("run", "uncorrected answers of a version"): lambda: responses.uncorrected(newest_version),
        ("person", "delete an answer"): lambda: store.erasures.response(filled.some_answer(rng)),
    }
