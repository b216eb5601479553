"""/v1/adapters: what was learned, what is live, and the change from one to another."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from align.errors import Conflict, NotFound
from align.gate.headlines import HEADLINES
from align.lineage import AdapterStory, adapter_story
from align.state import Adapter, Rollout, Store
from align.state.rollouts import BASE
from serve.canary import compare, propose_new
from serve.comparison import Comparison
from serve.replica import Replica

from .alignments import alignment_answer
from .auth import may_administer, may_chat
from .schema import (
    AdapterAnswer,
    AdapterList,
    AdapterStoryAnswer,
    AdapterSummary,
    Body,
    Change,
    ComparedVersion,
    ComparisonAnswer,
    PromoteRequest,
    RolloutAnswer,
)
from .statuses import WITH_BODY, refusals

CHANGES = refusals(*WITH_BODY, 404, 409)


def adapters_router(replica: Replica) -> APIRouter:
    router, store = APIRouter(prefix="/v1/adapters"), replica.store
    prepare_s = replica.settings.rollout.prepare_s

    @router.get("", dependencies=[Depends(may_chat)])
    async def every() -> AdapterList:
        """All versions in short, newest first; the newest rollout, and the one in force."""
        return await run_in_threadpool(_overview, store)

    @router.get("/comparison", dependencies=[Depends(may_chat)], responses=refusals(404))
    async def comparison() -> ComparisonAnswer:
        """How the new version stands against the other: corrections and failures by version, and the evidence."""

        def look() -> Comparison:
            found = compare(store, store.rollouts.desired(), time.time())
            if found is None:
                raise NotFound("no version is being compared; a promotion to a version starts that")
            return found

        return _comparison(await run_in_threadpool(look))

    @router.get("/{version}", dependencies=[Depends(may_chat)], responses=refusals(404))
    async def one(version: str) -> AdapterStoryAnswer:
        """Where one version comes from and what it did: run, manifest, report, rollouts, answers."""
        return _story(await run_in_threadpool(adapter_story, store, version))

    @router.post(
        "/rollback", status_code=202, dependencies=[Depends(may_administer)], responses=refusals(409)
    )
    async def rollback() -> RolloutAnswer:
        """End the candidate's share; without one, go back to the version that was live before this one."""

        def propose() -> Rollout:
            desired = store.rollouts.desired()
            in_force = desired.in_force(time.time())
            has_candidate = in_force.candidate is not None
            target = in_force.live if has_candidate else desired.previous(in_force)
            if target == in_force.live and not has_candidate:
                raise Conflict("there is no earlier version to go back to")
            return store.rollouts.propose(target, prepare_s=prepare_s, based_on=in_force)

        return _rollout(await run_in_threadpool(propose))

    @router.post("/{version}/admit", dependencies=[Depends(may_administer)], responses=CHANGES)
    async def admit(version: str, body: Body | None = None) -> AdapterAnswer:
        """Let a version that the gate held for review serve after all; `promote` then makes it live."""
        return _adapter(await run_in_threadpool(store.adapters.admit, version))

    @router.post("/{version}/retire", dependencies=[Depends(may_administer)], responses=CHANGES)
    async def retire(version: str, body: Body | None = None) -> AdapterAnswer:
        """Never let a version serve again; refused while it is served. Its files and its story stay."""
        return _adapter(await run_in_threadpool(store.adapters.retire, version))

    @router.post(
        "/{version}/promote", status_code=202, dependencies=[Depends(may_administer)], responses=CHANGES
    )
    async def promote(version: str, body: PromoteRequest | None = None) -> RolloutAnswer:
        """Serve an admitted version, or `base`, to everyone or to a share of the requests."""
        share = body.share if body is not None else None

        def propose() -> Rollout:
            name = BASE if version == BASE else _promotable(store, version).version
            return propose_new(store, name, replica.settings.rollout, share)

        return _rollout(await run_in_threadpool(propose))

    return router


def _promotable(store: Store, version: str) -> Adapter:
    adapter = store.adapters.get(version)
    if adapter.status != "admitted":
        raise Conflict(f"{adapter.version} is {adapter.status}; only an admitted adapter may serve")
    return adapter


def _overview(store: Store) -> AdapterList:
    return AdapterList(
        data=[_summary(adapter) for adapter in store.adapters.all()],
        rollout=_rollout(store.rollouts.newest()),
        in_force=_rollout(store.rollouts.in_force()),
    )


def _summary(adapter: Adapter) -> AdapterSummary:
    training, gate = adapter.report.get("training", {}), adapter.report.get("gate", {})
    comparisons = gate.get("comparisons", {})
    return AdapterSummary(
        **_identity(adapter),
        num_pairs=training.get("num_pairs"),
        verdict=gate.get("decision"),
        reasons=gate.get("reasons", []),
        figures={name: Change(**comparisons[name]["change"]) for name in HEADLINES if name in comparisons},
    )


def _adapter(adapter: Adapter) -> AdapterAnswer:
    return AdapterAnswer(**_identity(adapter), report=adapter.report)


def _identity(adapter: Adapter) -> dict[str, Any]:
    return {
        "version": adapter.version,
        "status": adapter.status,
        "created": int(adapter.created),
        "digest": adapter.digest,
        "run_id": adapter.run_id,
        "tainted": None if adapter.tainted is None else int(adapter.tainted),
    }


def _story(story: AdapterStory) -> AdapterStoryAnswer:
    return AdapterStoryAnswer(
        **_adapter(story.adapter).model_dump(),
        run=alignment_answer(story.run),
        manifest=story.run.manifest or {},
        erased=list(story.erased),
        rollouts=[_rollout(rollout) for rollout in story.rollouts],
        num_responses=story.num_responses,
    )


def _comparison(comparison: Comparison) -> ComparisonAnswer:
    corrected, failed = comparison.corrected, comparison.failed
    return ComparisonAnswer(
        kind="canary" if comparison.is_canary else "live",
        version=ComparedVersion.of(comparison.version, corrected.new, failed.new),
        other=ComparedVersion.of(comparison.other, corrected.other, failed.other),
        num_answers=comparison.terms.num_answers,
        evidence_corrected=corrected.evidence,
        evidence_failed=failed.evidence,
        threshold=comparison.threshold,
    )


def _rollout(rollout: Rollout) -> RolloutAnswer:
    return RolloutAnswer(
        generation=rollout.generation,
        live=rollout.live,
        candidate=rollout.candidate,
        share=rollout.share,
        phase=rollout.status,
        reason=rollout.reason,
        effective_at=rollout.effective_at,
        is_judged=rollout.terms is not None,
    )
