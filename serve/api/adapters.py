"""/v1/adapters: what was learned, what is live, and the change from one to another. /v1/models: what can be asked."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from align.errors import Conflict
from align.lineage import AdapterStory, adapter_story
from align.state import Adapter, Rollout, Store
from align.state.rollouts import BASE
from serve.errors import UnknownAdapter
from serve.replica import Replica
from serve.rollout import choose_version

from .alignments import alignment_answer
from .auth import may_administer, may_chat
from .schema import (
    AdapterAnswer,
    AdapterList,
    AdapterStoryAnswer,
    Body,
    ModelAnswer,
    ModelList,
    PromoteRequest,
    RolloutAnswer,
)


def adapters_router(replica: Replica) -> APIRouter:
    router, store = APIRouter(prefix="/v1/adapters"), replica.store
    prepare_s = replica.settings.rollout.prepare_s

    @router.get("", dependencies=[Depends(may_chat)])
    async def every() -> AdapterList:
        """All versions, newest first; the newest rollout, and the one in force."""
        return await run_in_threadpool(_overview, store)

    @router.get("/{version}", dependencies=[Depends(may_chat)])
    async def one(version: str) -> AdapterStoryAnswer:
        """Where one version comes from and what it did: run, manifest, report, rollouts, answers."""
        return _story(await run_in_threadpool(adapter_story, store, version))

    @router.post("/rollback", status_code=202, dependencies=[Depends(may_administer)])
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

    @router.post("/{version}/admit", dependencies=[Depends(may_administer)])
    async def admit(version: str, body: Body | None = None) -> AdapterAnswer:
        """Let a version that the gate held for review serve after all; `promote` then makes it live."""
        return _adapter(await run_in_threadpool(store.adapters.admit, version))

    @router.post("/{version}/promote", status_code=202, dependencies=[Depends(may_administer)])
    async def promote(version: str, body: PromoteRequest | None = None) -> RolloutAnswer:
        """Serve an admitted version, or `base`, to everyone or to a share of the requests."""
        share = body.share if body is not None else None

        def propose() -> Rollout:
            name = BASE if version == BASE else _promotable(store, version).version
            if share is None:
                return store.rollouts.propose(name, prepare_s=prepare_s)
            in_force = store.rollouts.in_force()
            if name == in_force.live:
                raise Conflict(f"{name} is live already; a candidate is another version")
            return store.rollouts.propose(in_force.live, name, share, prepare_s=prepare_s, based_on=in_force)

        return _rollout(await run_in_threadpool(propose))

    return router


def models_router(replica: Replica) -> APIRouter:
    router, name = APIRouter(prefix="/v1/models"), replica.settings.model_name

    def models() -> list[ModelAnswer]:
        rollout = replica.reconciler.in_force()
        created = {adapter.version: int(adapter.created) for adapter in replica.store.adapters.all()}
        versions = [BASE, *sorted(set(replica.engine.stats().adapters) - {BASE})]
        plain = ModelAnswer(id=name, created=created.get(rollout.live, 0), adapter=rollout.live, is_live=True)
        pinned = [
            ModelAnswer(id=f"{name}@{v}", created=created.get(v, 0), adapter=v, is_live=v == rollout.live)
            for v in versions
        ]
        return [plain, *pinned]

    @router.get("", dependencies=[Depends(may_chat)])
    async def every() -> ModelList:
        """The model as it is served now, and each version that can be pinned: NAME@v0001, NAME@base."""
        return ModelList(data=await run_in_threadpool(models))

    @router.get("/{model_id:path}", dependencies=[Depends(may_chat)])
    async def one(model_id: str) -> ModelAnswer:
        """What a model's name stands for now."""
        in_force, loaded = replica.reconciler.in_force(), replica.engine.stats().adapters
        adapter = in_force.live if model_id == name else choose_version(in_force, "", model_id, name, loaded)
        for model in await run_in_threadpool(models):
            if model.adapter == adapter:
                return model.model_copy(update={"id": model_id})
        raise UnknownAdapter(f"the model {model_id!r} does not exist")

    return router


def _promotable(store: Store, version: str) -> Adapter:
    adapter = store.adapters.get(version)
    if adapter.status != "admitted":
        raise Conflict(f"{adapter.version} is {adapter.status}; only an admitted adapter may serve")
    return adapter


def _overview(store: Store) -> AdapterList:
    return AdapterList(
        data=[_adapter(adapter) for adapter in store.adapters.all()],
        rollout=_rollout(store.rollouts.newest()),
        in_force=_rollout(store.rollouts.in_force()),
    )


def _adapter(adapter: Adapter) -> AdapterAnswer:
    return AdapterAnswer(
        version=adapter.version,
        status=adapter.status,
        created=int(adapter.created),
        digest=adapter.digest,
        run_id=adapter.run_id,
        report=adapter.report,
        tainted=None if adapter.tainted is None else int(adapter.tainted),
    )


def _story(story: AdapterStory) -> AdapterStoryAnswer:
    return AdapterStoryAnswer(
        **_adapter(story.adapter).model_dump(),
        run=alignment_answer(story.run),
        manifest=story.run.manifest or {},
        erased=list(story.erased),
        rollouts=[_rollout(rollout) for rollout in story.rollouts],
        num_responses=story.num_responses,
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
    )
