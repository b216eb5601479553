"""Takes adapters out of service that learned from what was erased: off the rollout first, then retired, files and all.

A run lasts for hours and a deletion should not wait for it, so this goes on beside the aligner's runs. All that it
decides from is in the store.
"""

from __future__ import annotations

import time

import structlog

from align.errors import Conflict
from align.state import Adapter, Blobs, Rollout, Store
from align.state.rollouts import BASE, Desired

log = structlog.get_logger()


class Retirement:
    def __init__(self, store: Store, blobs: Blobs, *, prepare_s: float) -> None:
        self._store = store
        self._blobs = blobs
        self._prepare_s = prepare_s

    def step(self) -> None:
        """One look: what is in force first, then all that nothing names any more."""
        next_one = successor(self._store.rollouts.desired(), self._store.rollouts.newest(), time.time())
        if next_one is not None:
            self._propose(*next_one)
        for adapter in self._store.adapters.to_retire():
            self._retire(adapter)

    def remove_left_files(self) -> None:
        """Of those whose retirement was cut off before its end."""
        for adapter in self._store.adapters.all():
            if adapter.tainted is not None and adapter.status == "retired":
                self._remove_files(adapter)

    def _propose(self, in_force: Rollout, live: str, candidate: str | None) -> None:
        share = in_force.share if candidate is not None else 0.0
        try:
            self._store.rollouts.propose(
                live,
                candidate,
                share,
                prepare_s=self._prepare_s,
                based_on=in_force,
                terms=in_force.as_terms if candidate is not None else None,
                reason="a version in service learned from what was erased or rejected",
            )
        except Conflict as conflict:  # another rollout is under way; it is looked at again when it has ended
            log.info("a tainted adapter stays for now", in_force=in_force.versions, reason=str(conflict))
        else:
            log.warning("a tainted adapter is taken out of service", was=in_force.versions, live=live)

    def _retire(self, adapter: Adapter) -> None:
        try:
            self._store.adapters.retire(adapter.version)
        except Conflict:  # a rollout names it still
            return
        self._remove_files(adapter)
        log.warning("a tainted adapter is retired", version=adapter.version)

    def _remove_files(self, adapter: Adapter) -> None:
        if not self._store.adapters.using(adapter.blob):
            self._blobs.remove_folder(adapter.blob)


def successor(desired: Desired, newest: Rollout, now: float) -> tuple[Rollout, str, str | None] | None:
    """The rollout in force, and the versions to serve in its place; none where all that it names may serve.

    A version that could not be prepared at the last attempt is not tried again: the base always can.
    """
    in_force = desired.in_force(now)
    if not desired.withheld & set(in_force.versions):
        return None
    live = desired.live(now)
    is_in_vain = newest.status == "abandoned" and newest.generation > in_force.generation
    if is_in_vain and live in newest.versions and live != in_force.live:
        live = BASE
    may_stay = in_force.candidate not in {None, live, *desired.withheld}
    return in_force, live, in_force.candidate if may_stay else None
