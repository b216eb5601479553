"""Watches a new version that answers: rolls it back when it is worse, gives it everyone when it has stood the test.

All that it decides from is in the store. Of several that decide the same, the store lets one propose.
"""

from __future__ import annotations

import time

import structlog

from align.errors import Conflict
from align.state import Rollout, Store
from align.state.outcomes import Generations
from align.state.rollouts import BASE, Desired

from .comparison import MAX_PER_BLOCK, Breach, Comparison, Outcomes, Stood, answers_per_block, judge
from .settings import RolloutSettings

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


def propose_new(store: Store, version: str, settings: RolloutSettings, share: float | None = None) -> Rollout:
    """A version to everyone, or to a share beside the live one; judged by the settings' terms. Raises `Conflict`.

    The base for everyone is a way back, and not judged.
    """
    terms = None if version == BASE and share is None else settings.canary.terms
    if share is None:
        return store.rollouts.propose(version, prepare_s=settings.prepare_s, terms=terms)
    in_force = store.rollouts.in_force()
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
    own = Generations(in_force.generation, in_force.generation)
    is_canary = in_force.candidate is not None
    if in_force.candidate is not None:
        version, other, others = in_force.candidate, in_force.live, own
    else:
        version, other = in_force.live, desired.previous(in_force)
        others = Generations(0, in_force.generation - 1)
    until = now if is_canary else moment
    settled = now - terms.settled_s
    num, num_others = terms.num_answers, MAX_PER_BLOCK * terms.num_answers
    outcomes = store.outcomes
    corrected = (
        outcomes.corrected(version, own, until=settled, settled_s=terms.settled_s, limit=num),
        outcomes.corrected(
            other,
            others,
            until=min(until, settled),
            settled_s=terms.settled_s,
            limit=num_others,
            is_newest=not is_canary,
        ),
    )
    failed = (
        outcomes.failed(version, own, until=now, limit=num),
        outcomes.failed(other, others, until=until, limit=num_others, is_newest=not is_canary),
    )
    sizes = [
        answers_per_block(in_force.share) if is_canary else _size(len(one), num)
        for _, one in (corrected, failed)
    ]
    return Comparison(
        version,
        other,
        is_canary,
        terms,
        Outcomes("corrected", *corrected, sizes[0]),
        Outcomes("failed", *failed, sizes[1]),
    )


def _size(num_others: int, num: int) -> int:
    """Of a block, such that the other's answers last for as many of the new version's."""
    return max(1, num_others // num)
