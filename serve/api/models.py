"""/v1/models: what can be asked by name, as OpenAI lists models."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from align.state import Rollout
from align.state.rollouts import BASE
from serve.errors import UnknownAdapter
from serve.replica import Replica
from serve.rollout import choose_version

from .auth import may_chat
from .schema import ModelAnswer, ModelList
from .schema.models import Role
from .statuses import refusals


def models_router(replica: Replica) -> APIRouter:
    router, name = APIRouter(prefix="/v1/models"), replica.settings.model_name

    def models() -> list[ModelAnswer]:
        rollout = replica.reconciler.in_force()
        adapters = {adapter.version: adapter for adapter in replica.store.adapters.all()}

        def answer(model_id: str, version: str) -> ModelAnswer:
            adapter = adapters.get(version)
            return ModelAnswer(
                id=model_id,
                created=0 if adapter is None else int(adapter.created),
                adapter=version,
                is_live=version == rollout.live,
                role=_role(rollout, version),
                parent=None if version == BASE else f"{name}@{BASE}",
                digest=None if adapter is None else adapter.digest,
            )

        versions = [BASE, *sorted(set(replica.engine.stats().adapters) - {BASE})]
        return [answer(name, rollout.live), *(answer(f"{name}@{version}", version) for version in versions)]

    @router.get("", dependencies=[Depends(may_chat)])
    async def every() -> ModelList:
        """The model as it is served now, and each version that can be pinned: NAME@v0001, NAME@base."""
        return ModelList(data=await run_in_threadpool(models))

    @router.get("/{model_id:path}", dependencies=[Depends(may_chat)], responses=refusals(404, 503))
    async def one(model_id: str) -> ModelAnswer:
        """What a model's name stands for now."""
        in_force, loaded = replica.reconciler.in_force(), replica.engine.stats().adapters
        adapter = in_force.live if model_id == name else choose_version(in_force, "", model_id, name, loaded)
        for model in await run_in_threadpool(models):
            if model.adapter == adapter:
                return model.model_copy(update={"id": model_id})
        raise UnknownAdapter(f"the model {model_id!r} does not exist")

    return router


def _role(rollout: Rollout, version: str) -> Role:
    if version == rollout.live:
        return "live"
    if version == rollout.candidate:
        return "candidate"
    return "base" if version == BASE else "kept"
