"""What has to hold whatever happens, each as a pure function that says in words where it does not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from align.state.adapters import Adapter
from align.state.replicas import Replica
from align.state.rollouts import Rollout
from align.state.runs import JUDGED, UNDER_WAY, Run
from serve.drill.figures import mixture
from serve.drill.load import Seen
from serve.drill.references import References

FINAL = re.compile(r"4(?!08|29)\d\d: ")
"""How a failure begins after which no client asks again."""


@dataclass
class Sent:
    """A correction, by its idempotency key: acknowledged where it has an id."""

    key: str
    id: str | None = None
    refusal: str | None = None


def corrections_kept(ledger: Sequence[Sent], stored: Mapping[str, Sequence[str]]) -> list[str]:
    """`stored` are the ids on record by idempotency key: each acknowledged one once, no other twice."""
    wrong = []
    for sent in ledger:
        ids = list(stored.get(sent.key, ()))
        if sent.refusal is not None:
            wrong.append(f"correction {sent.key} was refused: {sent.refusal}")
        if sent.id is not None and sent.id not in ids:
            wrong.append(f"correction {sent.key} was acknowledged as {sent.id} and is lost")
        if len(ids) > 1:
            wrong.append(f"correction {sent.key} is stored {len(ids)} times")
    return wrong


def answers_by_one_version(
    seen: Sequence[Seen],
    references: References,
    token_ids: Mapping[str, tuple[int, ...]],
    adapters: Mapping[str, str],
) -> list[str]:
    """`token_ids` and `adapters` are those on record, by response id.

    What broke off may be short, never mixed, and no question is refused for good.
    """
    wrong = []
    for one in seen:
        if one.failure is None:
            mixed = mixture(one, references, token_ids)
            wrong += [] if mixed is None else [mixed]
            recorded = adapters.get(one.response_id or "")
            if recorded is None:
                wrong.append(f"answer {one.response_id} was told to its end and is not on record")
            elif recorded != one.adapter:
                wrong.append(f"answer {one.response_id} said {one.adapter}, its record says {recorded}")
        elif FINAL.match(one.failure):
            wrong.append(f"question {one.question} was refused: {one.failure}")
        elif one.text and not references[one.adapter or ""][one.question].text.startswith(one.text):
            wrong.append(
                f"question {one.question} by {one.adapter} was mixed before it broke off: {one.text!r}"
            )
    return wrong


def one_truth(
    in_force: Rollout, replicas: Sequence[Replica], told: Mapping[str, tuple[int, str]]
) -> list[str]:
    """`told` is what each replica says is in force: generation and live version."""
    wrong = [
        f"replica {replica.id} holds {replica.adapters}, in force is {in_force.live}"
        for replica in replicas
        if not set(in_force.versions) <= set(replica.adapters)
    ]
    truth = (in_force.generation, in_force.live)
    wrong += [
        f"replica {name} says {said}, on record is {truth}" for name, said in told.items() if said != truth
    ]
    return wrong


def runs_kept(runs: Sequence[Run], adapters: Sequence[Adapter], ended: Mapping[str, str]) -> list[str]:
    """`adapters` were read before `runs`, and `ended` says how those had ended that had at the look before."""
    wrong = []
    if (num_under_way := sum(run.status in UNDER_WAY for run in runs)) > 1:
        wrong.append(f"{num_under_way} runs are under way at once")
    versions = {run.id: [one.version for one in adapters if one.run_id == run.id] for run in runs}
    for run in runs:
        if run.id in ended and run.status != ended[run.id]:
            wrong.append(f"run {run.id} had ended as {ended[run.id]} and is {run.status}")
        if len(versions[run.id]) > 1:
            wrong.append(f"run {run.id} made {', '.join(versions[run.id])}")
        if versions[run.id] and run.adapter not in versions[run.id]:
            wrong.append(
                f"run {run.id} is {run.status} with {run.adapter}, and {versions[run.id][0]} is of it"
            )
        if run.is_ended and (run.adapter is None) == (run.status in JUDGED):
            wrong.append(f"run {run.id} is {run.status} with the version {run.adapter}")
        if run.is_ended and run.status not in JUDGED and not run.reason:
            wrong.append(f"run {run.id} is {run.status} without a reason")
    return wrong
