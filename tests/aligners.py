"""Aligners as tests start them, and what they do in the place of a real run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from records import adapter_row, correction, response

from align.state import Adapter, Blobs, Run, Store
from serve.aligner import Aligner
from serve.settings import Settings

Align = Callable[..., Adapter]


class MakeAligner(Protocol):
    def __call__(self, lease_s: float = ..., **changes: Any) -> Aligner: ...


@contextmanager
def aligners(settings: Settings) -> Iterator[MakeAligner]:
    """Makes them, with other settings by name; their threads end with it. The first has the lease."""
    with ExitStack() as stack:

        def make(lease_s: float = 100.0, **changes: Any) -> Aligner:
            aligner = Aligner(settings.model_copy(update=changes), lease_s)
            stack.callback(aligner.stop)
            aligner.lease.step()
            return aligner

        yield make


def correct(store: Store, number: int, status: str = "accepted") -> None:
    start = len(store.corrections.page(1000))
    for index in range(start, start + number):
        store.responses.add(response(f"r{index}"))
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}", status=status))


def ending(status: str) -> Align:
    """An `align` that ends at once, with an adapter like the real one's."""

    def align(store: Store, blobs: Blobs, run: Run, base: str, config: Any, *rest: Any) -> Adapter:
        last = max((correction.sequence for correction, _ in store.corrections.trainable()), default=0)
        store.runs.update(run, manifest={"last_sequence": last})
        return adapter_row(store, status=status, run=run, is_to_be_proposed=rest[3])

    return align


def failing(error: Exception) -> Align:
    def align(*_: Any) -> Adapter:
        raise error

    return align


def left_by_a_dead_aligner(store: Store, attempts: int = 1) -> Run:
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    store.runs.update(run, attempts=attempts)
    return run
