"""The drill: finds every answer that is not wholly by the version it names, and says what a swap costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from command_line import Errata, command_line, complaint
from served import MODEL, Served, listening, publish, serving

from align.errors import InvalidAdapter
from serve.drill.drill import drill
from serve.drill.figures import Figures, Tail, figures, tail
from serve.drill.load import Load, Seen
from serve.drill.memory import Memory, sample
from serve.drill.plan import Plan
from serve.drill.questions import questions
from serve.drill.references import Reference
from serve.drill.subject import Subject, own_server
from serve.drill.swaps import Operator, Swap, next_version
from serve.errors import ServeError

REFERENCES = {
    "v0001": [Reference("a cup", (1, 2)), Reference("a fork", (1, 3))],
    "v0002": [Reference("a lamp", (4, 5)), Reference("a fork", (1, 6))],
}


def seen(question: int, adapter: str, text: str, began: float = 0.0, **changes: object) -> Seen:
    answer = Seen(question, began, began + 1.0, adapter, f"r{began:g}", text, (began, began + 0.5))
    return replace(answer, **changes)  # type: ignore[arg-type]  # any field, as the caller names it


def judged(*answers: Seen, token_ids: dict[str, tuple[int, ...]] | None = None) -> Figures:
    return figures(answers, [], REFERENCES, token_ids or {}, [], 0)


def test_an_answer_that_is_its_versions_own_is_no_mixture() -> None:
    result = judged(seen(0, "v0001", "a cup"), seen(0, "v0002", "a lamp", 1.0))
    assert (result.num_requests, result.mixed, result.failures) == (2, (), ())
    assert result.by_version == {"v0001": 1, "v0002": 1}
    assert result.is_correct


@pytest.mark.parametrize("text", ["a lamp", "a cup a cup", "a", "a cup "])
def test_every_other_answer_is_a_mixture(text: str) -> None:
    (mixture,) = judged(seen(0, "v0001", text)).mixed
    assert mixture.startswith("question 0 by v0001 differs from its reference")


def test_other_tokens_are_a_mixture_though_the_words_are_the_same() -> None:
    result = judged(seen(1, "v0001", "a fork"), token_ids={"r0": (1, 6)})
    assert result.mixed == ("question 1 by v0001 differs from its reference from token 1 on: 'a fork'",)
    assert not result.is_correct


def test_an_answer_by_a_version_that_nobody_asked_for_is_a_mixture() -> None:
    assert judged(seen(0, "base", "a cup")).mixed == ("an answer by base, which the drill did not ask for",)


def test_a_failure_is_counted_and_not_compared() -> None:
    result = judged(seen(0, "v0001", "a", failure="500: no"))
    assert (result.failures, result.mixed, result.is_correct) == (("500: no",), (), False)


def test_percentiles_are_values_that_were_seen() -> None:
    assert tail([float(n) for n in range(1, 201)]) == Tail(200, 100.0, 198.0, 200.0)
    assert tail([3.0]) == Tail(1, 3.0, 3.0, 3.0)


def test_what_was_not_seen_is_null_in_json() -> None:
    told = json.loads(json.dumps(judged(seen(0, "v0001", "a cup")).to_json(), allow_nan=False))
    assert (told["gap_ratio_p99"], told["memory_growth"], told["seconds_to_last_replica_p99"]) == (
        None,
        None,
        None,
    )
    assert told["requests"] == {"total": 1, "failed": 0, "mixed": 0, "by_version": {"v0001": 1}}


def test_gaps_are_told_apart_by_whether_a_swap_was_under_way() -> None:
    """A swap from 10 to 12; an answer by the version before goes on to 14, and the swap with it."""
    swap = Swap("v0002", "v0001", asked=10.0, switched=12.0, has_loaded=True)
    answers = [
        seen(0, "v0001", "a cup", 8.0, ended=14.0, arrivals=(8.0, 9.0, 11.0, 11.5, 14.0)),
        seen(0, "v0002", "a lamp", 12.5, ended=15.5, arrivals=(13.0, 13.25, 15.0, 15.5)),
    ]
    result = figures(answers, [swap], REFERENCES, {}, [], 0)
    assert result.steady == Tail(2, 0.5, 1.0, 1.0)  # 8 to 9 and 15 to 15.5
    assert result.around == Tail(5, 1.75, 2.5, 2.5)  # 2, 0.5, 2.5 and 0.25, 1.75
    assert result.gap_ratio_p99 == 2.5
    assert result.to_last_replica == Tail(1, 2.0, 2.0, 2.0)


def test_what_the_drill_itself_holds_up_is_left_out() -> None:
    look = Memory(0, 8.2, 8.4, {"a": 1})
    result = figures([seen(0, "v0001", "a cup", arrivals=(8.0, 9.0, 9.5))], [], REFERENCES, {}, [look], 0)
    assert result.steady == Tail(1, 0.5, 0.5, 0.5)


def test_memory_is_compared_after_the_warm_up_by_replica() -> None:
    sizes = [(0, 50, 50), (4, 100, 100), (6, 101, 100), (8, 101, 100), (10, 102, 100), (12, 103, 99)]
    looks = [Memory(number, 0.0, 0.0, {"a": a, "b": b}) for number, a, b in sizes]
    swaps = [Swap("v0001", "v0002", 0.0, 1.0, has_loaded=number % 4 != 3) for number in range(12)]
    result = figures([], swaps, REFERENCES, {}, looks, 4)
    assert (result.memory_before, result.memory_after) == ({"a": 100, "b": 100}, {"a": 103, "b": 99})
    assert result.memory_growth == pytest.approx(0.03)
    assert result.num_loads == 2 * 6  # of the eight swaps after the warm-up six load, in two replicas


def test_every_promotion_is_to_a_version_that_no_replica_holds_and_each_fifth_swap_goes_back() -> None:
    versions = ["v0001", "v0002", "v0003", "v0004"]
    live, previous, promoted = "v0002", "v0001", []
    for number in range(100):
        version = next_version(number, versions, live, previous)
        if version is None:
            live, previous = previous, live
            continue
        assert version not in {live, previous}
        live, previous = version, live
        promoted.append(version)
    assert len(promoted) == 80
    assert all(promoted.count(version) > 10 for version in versions)


def test_between_two_versions_swaps_go_back_and_forth() -> None:
    assert next_version(0, ["v0001", "base"], live="base", previous="v0001") == "v0001"


# --- against a replica with a fake engine, over HTTP


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Three admitted versions with their files, which say their names."""
    with serving(tmp_path / "state") as served:
        yield publish(served, tmp_path)


def chat(address: str, seconds: float) -> list[Seen]:
    async def run() -> list[Seen]:
        async with httpx.AsyncClient(base_url=f"{address}/v1/", trust_env=False) as client:
            load = Load(client, questions(1), MODEL, 40, seed=0)
            async with asyncio.TaskGroup() as group:
                for number in range(2):
                    group.create_task(load.stream(number))
                await asyncio.sleep(seconds)
                load.stop()
            return load.seen

    return asyncio.run(run())


def test_an_answer_is_read_piece_by_piece_with_the_version_that_it_names(served: Served) -> None:
    with listening(served) as address:
        answers = chat(address, 0.2)
    assert len(answers) >= 2
    for answer in answers:
        assert (answer.text, answer.adapter, answer.failure) == (
            "By base: a red cup and a fork.",
            "base",
            None,
        )
        assert 1 <= len(answer.arrivals) <= 8  # pieces that come fast are sent together
        assert answer.began <= answer.arrivals[0] <= answer.arrivals[-1] <= answer.ended
        assert served.store.responses.get(answer.response_id or "").text == answer.text


def test_a_stream_that_breaks_off_and_a_request_that_is_refused_are_failures(served: Served) -> None:
    served.engine.error_after = 3
    with listening(served) as address:
        assert {answer.failure for answer in chat(address, 0.1)} == {"the fake engine broke"}
        served.engine.submit_failure = InvalidAdapter("no")
        assert all((answer.failure or "").startswith("5") for answer in chat(address, 0.1))


def swaps_of(address: str, versions: list[str], count: int) -> list[Swap]:
    async def run() -> list[Swap]:
        async with httpx.AsyncClient(base_url=f"{address}/v1/", trust_env=False) as client:
            operator = Operator(client, address, versions, num_replicas=1)
            await operator.start()
            swaps = [await operator.swap(number) for number in range(count)]
            await operator.end()
            return swaps

    return asyncio.run(run())


def test_a_swap_ends_when_the_last_replica_answers_by_it(served: Served) -> None:
    with listening(served) as address:
        swaps = swaps_of(address, ["v0001", "v0002", "v0003"], 5)
    assert [(swap.version, swap.was) for swap in swaps[:2]] == [("v0003", "v0002"), ("v0001", "v0003")]
    assert [swap.has_loaded for swap in swaps] == [True, True, True, True, False]  # the fifth is a rollback
    moments = [rollout.effective_at or 0.0 for rollout in served.store.rollouts.desired().committed]
    assert (
        len(moments) == 1 + 2 + 5 + 1
    )  # the initial one, two that are made resident, the swaps, the way back
    assert served.store.rollouts.in_force().live == "base", "what was live before is live again"
    assert all(swap.switched - swap.asked >= served.replica.settings.rollout.commit_ahead_s for swap in swaps)


def test_a_swap_that_is_abandoned_ends_the_drill_with_its_reason(served: Served) -> None:
    served.engine.load_failures["v0003"] = InvalidAdapter("its rank is too large")
    with (
        listening(served) as address,
        pytest.raises(ServeError, match=r"abandoned: .* its rank is too large"),
    ):
        swaps_of(address, ["v0001", "v0002", "v0003"], 1)


def test_a_swap_that_fails_under_load_ends_the_drill_with_its_reason_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.drill.drill.references", lambda *_: REFERENCES)
    served.engine.load_failures["v0003"] = InvalidAdapter("its rank is too large")
    folders = dict.fromkeys(["v0001", "v0002", "v0003"])
    with listening(served) as address:
        subject = Subject(address, "none", MODEL, folders, served.store, served.replica.settings.state)
        with pytest.raises(ServeError, match="abandoned"):
            drill(Plan(num_swaps=1, num_streams=2, steady_s=0.05), subject, lambda _: None)


def test_where_no_replica_is_left_to_say_what_is_in_force_the_drill_looks_again() -> None:
    unavailable = httpx.Response(503, text="no replica")
    replies = iter([unavailable, httpx.Response(200, json={"replica": "r1", "generation": 2})])

    def reply(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/readyz":
            return next(replies)
        if request.method == "POST":
            return httpx.Response(202, json={"generation": 2, "live": "v0002"})
        return httpx.Response(200, json={"in_force": {"live": "v0001"}})

    async def run() -> Swap:
        transport = httpx.MockTransport(reply)
        async with httpx.AsyncClient(base_url="http://server/v1/", transport=transport) as client:
            operator = Operator(client, "http://server", ["v0001", "v0002"], num_replicas=1)
            return await operator.swap(0)

    assert asyncio.run(run()).version == "v0002"


def test_the_memory_of_a_replica_is_read_from_its_metrics(served: Served) -> None:
    async def look(address: str) -> Memory:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await sample(client, address, 3)

    with listening(served) as address:
        memory = asyncio.run(look(address))
    assert memory.by_replica.keys() == {served.replica.id}
    assert memory.by_replica[served.replica.id] > 2**24  # Python alone takes more
    assert memory.began < memory.ended


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


def test_a_server_without_its_folder_cannot_be_drilled(errata: Errata, tmp_path: Path) -> None:
    answer = errata("drill", "--url", "http://127.0.0.1:1/v1")
    assert complaint(answer).startswith("with --url, name that server's folder with --state")
    answer = errata("drill", "--url", "http://127.0.0.1:1/v1", "--state", tmp_path)
    assert complaint(answer).startswith("there is no server's state in")


@pytest.mark.cluster
def test_swaps_on_a_real_cluster_drop_and_mix_nothing() -> None:
    plan = Plan(num_swaps=5, num_streams=6, num_questions=6, max_tokens=32, steady_s=0.5)
    told: list[int] = []
    with own_server(plan) as subject:
        result = drill(plan, subject, told.append)
    assert (result.failures, result.mixed) == ((), ())
    assert result.by_version.keys() <= {"v0001", "v0002", "v0003", "v0004"}
    assert len(result.by_version) >= 3
    assert result.num_requests == sum(result.by_version.values()) > 50
    assert result.num_loads == 2 * 3  # the first is warm-up, the last a rollback
    assert told == [1, 2, 3, 4, 5]
    assert result.memory_before.keys() == result.memory_after.keys()
    assert len(result.memory_after) == 2
