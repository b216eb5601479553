"""Watches a new version that answers: rolls it back when it is worse, gives it everyone when it has stood the test.

All that it decides from is in the store. Of several that decide the same, the store lets one propose.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from align.errors import Conflict
from align.state import Rollout, Store, Terms
from align.state.outcomes import Generations
from align.state.rollouts import BASE, Desired

from .comparison import MAX_PER_BLOCK, Breach, Comparison, Contrast, Stood, answers_per_block, judge
from .rollout_settings import RolloutSettings

log = structlog.get_logger()


class Canary:
    def __init__(self, store: Store, settings: RolloutSettings) -> None:
        self._store = store
        self._settings = settings
        self._next_look = 0.0
        self._stood = -1  # the generation that needs no more looks

    def step(self) -> None:
        """One look, unless the last one was a moment ago."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._settings.canary.look_s
        now, desired = time.time(), self._store.rollouts.desired()
        in_force = desired.in_force(now)
        is_changing = desired.preparing is not None or desired.committed[0] != in_force
        if is_changing or in_force.generation == self._stood:
            return
        comparison = compare(self._store, desired, now)
        if comparison is None:
            return
        verdict = judge(comparison)
        if isinstance(verdict, Breach):
            self._roll_back(desired, comparison, verdict.reason)
        elif isinstance(verdict, Stood) and comparison.is_canary:
            self._propose(desired, comparison.version, comparison, verdict.reason)
        elif isinstance(verdict, Stood):
            self._stood = in_force.generation
            log.info(
                "a new version is not watched any more", version=comparison.version, reason=verdict.reason
            )

    def _roll_back(self, desired: Desired, comparison: Comparison, reason: str) -> None:
        newest = self._store.rollouts.newest()
        is_in_vain = newest.status == "abandoned" and newest.generation > desired.committed[0].generation
        if is_in_vain and (newest.live, newest.candidate) == (comparison.other, None):
            log.error("a worse version cannot be rolled back", to=comparison.other, because=newest.reason)
        else:
            self._propose(desired, comparison.other, None, reason)

    def _propose(self, desired: Desired, live: str, judged: Comparison | None, reason: str) -> None:
        try:
            self._store.rollouts.propose(
                live,
                prepare_s=self._settings.prepare_s,
                based_on=desired.in_force(time.time()),
                terms=None if judged is None else judged.terms,
                reason=reason,
            )
        except Conflict as conflict:  # a person was faster; what is in force then is looked at again
            log.info("a verdict waits", live=live, verdict=reason, conflict=str(conflict))
        else:
            log.warning("a verdict on a new version", live=live, verdict=reason)


def propose_new(
    store: Store,
    version: str,
    settings: RolloutSettings,
    share: float | None = None,
    based_on: Rollout | None = None,
) -> Rollout:
    """A version to everyone, or to a share beside the live one; judged by the settings' terms. Raises `Conflict`.

    `based_on` as in `Rollouts.propose`. The base for everyone is a way back, and not judged.
    """
    terms = None if version == BASE and share is None else settings.canary.terms
    if share is None:
        return store.rollouts.propose(version, prepare_s=settings.prepare_s, based_on=based_on, terms=terms)
    in_force = based_on or store.rollouts.in_force()
    if version == in_force.live:
        raise Conflict(f"{version} is live already; a candidate is another version")
    return store.rollouts.propose(
        in_force.live, version, share, prepare_s=settings.prepare_s, based_on=in_force, terms=terms
    )


def compare(store: Store, desired: Desired, now: float) -> Comparison | None:
    """What is in force against what it is judged by; none where its rollout was proposed without terms.

    A candidate against the live version, over the same time; a live version against the last answers of the one before.
    """
    in_force = desired.in_force(now)
    terms, moment = in_force.as_terms, in_force.effective_at
    if terms is None or moment is None:
        return None
    num, num_others = terms.num_answers, MAX_PER_BLOCK * terms.num_answers
    own = Generations(in_force.generation, in_force.generation)
    is_canary = in_force.candidate is not None
    if in_force.candidate is not None:
        new = _Side(in_force.candidate, own, now, num)
        other = _Side(in_force.live, own, now, num_others)
    else:
        new = _Side(in_force.live, own, now, num)
        before = Generations(0, in_force.generation - 1)
        other = _Side(desired.previous(in_force), before, moment, num_others, is_newest=True)

    def outcomes(name: str, of_new: list[bool], of_other: list[bool]) -> Contrast:
        # the answers of the version before are all there are: they have to last for as many of the new one's
        size = answers_per_block(in_force.share) if is_canary else max(1, len(of_other) // num)
        return Contrast(name, of_new, of_other, size)

    return Comparison(
        new.version,
        other.version,
        is_canary,
        terms,
        outcomes("corrected", *(side.corrected(store, terms, now) for side in (new, other))),
        outcomes("failed", *(side.failed(store) for side in (new, other))),
    )


@dataclass(frozen=True)
class _Side:
    """Which answers of a version are compared."""

    version: str
    generations: Generations
    until: float  # when they had ended, in seconds since the epoch
    limit: int
    is_newest: bool = False

    def corrected(self, store: Store, terms: Terms, now: float) -> list[bool]:
        return store.outcomes.corrected(
            self.version,
            self.generations,
            until=min(self.until, now - terms.settled_s),
            settled_s=terms.settled_s,
            limit=self.limit,
            is_newest=self.is_newest,
        )

    def failed(self, store: Store) -> list[bool]:
        return store.outcomes.failed(
            self.version, self.generations, until=self.until, limit=self.limit, is_newest=self.is_newest
        )
