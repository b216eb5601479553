"""Adapters: which version answers, how it came to that, and which replicas hold it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric

from align.state import Store
from align.state.rollouts import STATUSES, Desired
from serve.settings import Settings

from .families import labelled, single


def adapter_figures(store: Store, settings: Settings) -> Iterable[Metric]:
    now = time.time()
    yield labelled(
        "errata_adapters", "Adapter versions by status", "status", store.adapters.count_by_status()
    )
    yield labelled(
        "errata_rollouts",
        "Rollouts by what became of them",
        "status",
        # from the first one on it is seen to rise
        dict.fromkeys(STATUSES, 0) | store.rollouts.count_by_status(),
    )
    yield from rollout_figures(store.rollouts.desired(), now)
    alive = store.replicas.alive(settings.rollout.dead_after_s)
    yield labelled(
        "errata_replica_generation",
        "The newest rollout generation that the replica holds",
        "replica",
        {replica.id: replica.prepared for replica in alive},
    )
    yield single("errata_replicas_expected", "Replicas that there should be at least", settings.num_replicas)


def rollout_figures(desired: Desired, now: float) -> Iterable[Metric]:
    in_force, preparing = desired.in_force(now), desired.preparing
    yield single("errata_rollout_generation", "The rollout generation in force", in_force.generation)
    answering = GaugeMetricFamily(
        "errata_rollout_adapter_info",
        "Which version is live, the candidate beside it, and the one to go back to",
        labels=["role", "version"],
    )
    roles = {"live": in_force.live, "candidate": in_force.candidate, "previous": desired.previous(in_force)}
    for role, version in roles.items():
        if version is not None:
            answering.add_metric([role, version], 1)
    yield answering
    yield single(
        "errata_rollout_candidate_share_ratio", "Requests that the candidate answers", in_force.share
    )
    yield single(
        "errata_rollout_preparing_seconds",
        "How long the rollout under way has been prepared; 0 where there is none",
        0.0 if preparing is None else max(0.0, now - preparing.created),
    )
    switched = in_force.effective_at if in_force.generation else None
    yield single(
        "errata_rollout_switch_seconds",
        "How long the one in force took, from the proposal to the moment from which it holds",
        None if switched is None else switched - in_force.created,
    )
    yield single(
        "errata_withheld_in_service",
        "Versions in force that may not serve any more, since what they learned from was erased or rejected",
        len(desired.withheld & set(in_force.versions)),
    )
