"""Which version answers a request, and when a prepared rollout may be committed: pure decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from align.errors import NotFound
from align.state.adapters import version_name, version_number
from align.state.replicas import Replica
from align.state.rollouts import BASE, Rollout

from .errors import NotReady, UnknownAdapter


@dataclass(frozen=True)
class Wait:
    pass


@dataclass(frozen=True)
class Commit:
    pass


@dataclass(frozen=True)
class Abandon:
    reason: str


Decision = Wait | Commit | Abandon


def decide(rollout: Rollout, replicas: Sequence[Replica], is_late: bool) -> Decision:
    """What is to be done about a rollout that is being prepared, given the replicas that are alive."""
    for replica in replicas:
        if replica.failure is not None and replica.failure["generation"] == rollout.generation:
            return Abandon(f"replica {replica.id} cannot load it: {replica.failure['reason']}")
    behind = [replica.id for replica in replicas if replica.prepared < rollout.generation]
    if replicas and not behind:
        return Commit()
    if is_late:
        waited_for = ", ".join(behind) or "any replica"
        return Abandon(f"not prepared in time by {waited_for}")
    return Wait()


def is_pinned(model: str) -> bool:
    """Whether the request names a version itself."""
    return "@" in model


def choose_version(
    rollout: Rollout, person: str, model: str, model_name: str, loaded: Collection[str]
) -> str:
    """The adapter version that answers: as pinned in the model's name, else by the rollout and its share.

    A person stays with a candidate when its share grows; another candidate meets other people.

    Raises `UnknownAdapter` where the name is another model's or the version is not loaded, `NotReady` where what
    is in force is not.
    """
    name, _, pin = model.partition("@")
    if name != model_name:
        raise UnknownAdapter(f"the model {model!r} does not exist; this server has {model_name!r}")
    if model == model_name or pin == "latest":
        is_candidate = pin == "latest" or _fraction(f"{rollout.candidate} {person}") < rollout.share
        version = rollout.candidate if rollout.candidate is not None and is_candidate else rollout.live
        if version not in {BASE, *loaded}:
            raise NotReady(f"{version} is in force, but not loaded here yet; ask again in a moment")
        return version
    if pin == BASE:
        return BASE
    try:
        version = version_name(version_number(pin))
    except NotFound as error:
        raise UnknownAdapter(str(error)) from error
    if version not in loaded:
        raise UnknownAdapter(
            f"{version} is not loaded; GET /v1/models lists the versions that can be asked for by name"
        )
    return version


def _fraction(text: str) -> float:
    """A number in [0, 1) that depends on nothing but the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
