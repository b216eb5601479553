"""The loop on a real cluster with the embedded model: two replicas, an aligner, Ray Train; through HTTP and the SDK.

One server lives through all tests of this file, in the order in which they stand: the last ones restart it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from deployed import Deployed, deployed
from errata import Errata
from openai import OpenAIError

from align.alignment import align
from align.config import AlignmentConfig, TrainingConfig
from align.conversation import Conversation
from align.scenes.captions import CAPTION_PROMPTS
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene
from align.state import Blobs, Store
from benchmarks.chaos.processes import of_role
from benchmarks.chaos.recovery import PROCESSES
from serve.demo.people import Annotators, Tally, answer_all, client
from serve.demo.server import START_S, free_port, server
from serve.settings import AlignmentSettings, Settings

pytestmark = pytest.mark.cluster

NUM_CORRECTIONS = 200
SCENES = [sample_scene("honest", "test", index) for index in range(40)]


@dataclass
class Loop:
    settings: Settings
    stack: ExitStack
    first_answers: list[httpx.Response]

    @property
    def address(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    @property
    def errata(self) -> Errata:
        return client(self.address)

    def start(self) -> None:
        self.stack.enter_context(server(self.settings))

    def start_by_serve_deploy(self) -> Deployed:
        """The same server and state on a cluster that was there before, as `deploy/serve.yaml` says."""
        there = self.stack.enter_context(deployed(self.settings.state))
        there.deploy(self.settings)
        return there

    def stop(self) -> None:
        self.stack.close()

    def greedy(self, model: str | None = None) -> list[str]:
        def ask(index: int) -> str:
            options = {} if model is None else {"model": model}
            prompt = CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)]
            image = png_bytes(SCENES[index])
            return self.errata.ask(prompt, image=image, temperature=0, max_tokens=96, **options).text

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(ask, range(len(SCENES))))

    def store(self) -> Store:
        return Store(self.settings.database_url)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.2)


def live_version(loop: Loop) -> str:
    return loop.errata.adapters.list().in_force.live


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    settings = Settings(
        state=tmp_path_factory.mktemp("loop"),
        port=free_port(),
        num_replicas=2,
        alignment=AlignmentSettings(min_corrections=NUM_CORRECTIONS),
    )
    with ExitStack() as stack, ThreadPoolExecutor(1) as knocking:
        loop = Loop(settings, stack, first_answers=[])
        knocks = knocking.submit(knock, loop)
        loop.start()
        knocks.result()
        yield loop


def knock(loop: Loop) -> None:
    """Ask for the models from before the start until they are told; `first_answers` has what was said to that."""
    deadline = time.monotonic() + START_S  # a server that does not start must not hold up the tests for ever
    while not loop.first_answers or loop.first_answers[-1].status_code != 200:
        assert time.monotonic() < deadline, loop.first_answers[-1:]
        with suppress(httpx.ConnectError):  # nobody listens yet
            loop.first_answers.append(httpx.get(f"{loop.address}/v1/models", timeout=60, trust_env=False))
        time.sleep(0.01)


def test_whoever_asks_before_a_server_is_ready_is_told_to_ask_again(loop: Loop) -> None:
    *too_early, answered = loop.first_answers
    assert answered.status_code == 200
    assert too_early
    for answer in too_early:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
        assert answer.json()["error"]["type"] == "server_error"


def test_corrections_start_a_run_whose_adapter_is_admitted_and_changes_the_answers(loop: Loop) -> None:
    before, tally = loop.greedy(), Tally()
    Annotators(loop.address, tally, NUM_CORRECTIONS, seed=1).work(lambda: None)
    assert tally.failures == []

    wait_until(lambda: bool(loop.errata.alignments.list()), 30, "a run by the number of corrections")
    run = loop.errata.alignments.wait(loop.errata.alignments.list()[0].id, timeout=600)
    assert run.status == "admitted", run.reason
    assert run.num_corrections == NUM_CORRECTIONS
    assert run.adapter == "v0001"

    wait_until(lambda: live_version(loop) == "v0001", 60, "v0001 live")
    assert loop.greedy("errata-scenes@base") == before
    after = loop.greedy()
    assert after == loop.greedy("errata-scenes@v0001")
    assert after != before
    report = loop.errata.adapters.get("v0001").report
    assert report["gate"]["decision"] == "admitted"
    assert report["training"]["rewards/margins"] > 0
    figures = httpx.get(f"{loop.address}/metrics", timeout=30, trust_env=False).text
    margin = report["training"]["rewards/margins"]
    assert f"errata_training_reward_margin {margin}" in figures, "Prometheus hears of what the aligner did"
    assert 'errata_gate_change{end="low",figure="held_out.margin"}' in figures


def test_an_answer_under_way_during_a_promotion_ends_as_it_would_have_without_it(loop: Loop) -> None:
    """Long answers by seed run through a switch from v0001 to the base; each is asked for again, pinned."""
    assert live_version(loop) == "v0001"
    image, stop = png_bytes(SCENES[0]), threading.Event()
    seen: list[tuple[float, float, int, str, str]] = []  # began, ended, seed, version, text

    def ask(seed: int, model: str = "errata-scenes") -> tuple[str, str]:
        with loop.errata.stream(
            "What do you see?", image=image, temperature=2.0, seed=seed, max_tokens=440, model=model
        ) as pieces:
            for _piece in pieces:
                pass
        return pieces.reply.adapter, pieces.reply.text

    def chat(number: int) -> None:
        seed = number * 1000
        while not stop.is_set():
            seed += 1
            began = time.monotonic()
            version, text = ask(seed)
            seen.append((began, time.monotonic(), seed, version, text))

    with ThreadPoolExecutor(8) as pool:
        chats = [pool.submit(chat, number) for number in range(8)]
        loop.errata.adapters.promote("base")
        wait_until(lambda: live_version(loop) == "base", 60, "base live")
        wait_until(
            lambda: sum(version == "base" for _, _, _, version, _ in list(seen)) >= 8, 60, "base answers"
        )
        stop.set()
        for chat_done in chats:
            chat_done.result()

    first_of_base = min(began for began, _, _, version, _ in seen if version == "base")
    through_the_switch = [one for one in seen if one[3] == "v0001" and one[1] > first_of_base]
    assert through_the_switch, "no answer was under way during the switch: nothing was tested"
    for _, _, seed, version, text in [*through_the_switch, *seen[-4:]]:
        assert ask(seed, f"errata-scenes@{version}") == (version, text)


def test_a_rollback_brings_the_earlier_version_back(loop: Loop) -> None:
    assert live_version(loop) == "base"
    loop.errata.adapters.rollback()
    wait_until(lambda: live_version(loop) == "v0001", 60, "v0001 live again")


def test_a_killed_replica_comes_back_with_the_live_adapter(loop: Loop) -> None:
    store = loop.store()
    before = {replica.id for replica in store.replicas.alive(5.0)}
    assert len(before) == 2
    own = psutil.Process().children(recursive=True)
    victims = [process for process in own if "ServeReplica:errata" in " ".join(process.cmdline()[:1])]
    assert len(victims) == 2, [process.cmdline()[:1] for process in own]
    victims[0].kill()

    def is_replaced() -> bool:
        """A replica reports from its start on, while it still loads; the asking goes on through that."""
        versions.add(patient.ask("What is here?", image=png_bytes(SCENES[0]), max_tokens=4).adapter)
        alive = store.replicas.alive(3.0)
        is_new = bool({replica.id for replica in alive} - before)
        return is_new and len(alive) == 2 and all("v0001" in replica.adapters for replica in alive)

    patient = Errata(base_url=f"{loop.address}/v1", max_retries=5)  # what the dead one was answering is lost
    versions: set[str] = set()
    wait_until(is_replaced, 120, "a new replica with the live adapter")
    assert versions == {"v0001"}
    store.close()
    tally = Tally()
    answers = answer_all(loop.address, tally, SCENES, lambda: None)
    assert tally.failures == []
    assert answers == loop.greedy("errata-scenes@v0001")


@pytest.mark.parametrize("role", ["controller", "aligner", "engine", "proxy"])
def test_after_a_kill_of_any_process_the_service_is_back_by_itself(loop: Loop, role: str) -> None:
    reply = loop.errata.ask("What is here?", image=png_bytes(SCENES[2]), temperature=0)
    kept = loop.errata.feedback.create(reply.response_id, corrected_text=f"{reply.text} After the {role}.")
    victim = of_role(role, psutil.Process().children(recursive=True))[0]
    victim.kill()
    victim.wait(30)

    def is_back() -> bool:
        try:
            again = loop.errata.ask("What is here?", image=png_bytes(SCENES[2]), temperature=0)
        except OpenAIError:
            return False
        assert (again.adapter, again.text) == (reply.adapter, reply.text)
        processes = psutil.Process().children(recursive=True)
        return all(len(of_role(one, processes)) == number for one, number in PROCESSES.items())

    wait_until(is_back, 300, f"an answer after the {role} was killed, and all processes there again")
    assert loop.errata.feedback.get(kept.id).corrected_text == f"{reply.text} After the {role}."


def test_a_move_to_a_cluster_by_serve_deploy_loses_nothing_and_neither_does_a_roll_out(loop: Loop) -> None:
    answers, reply = (
        loop.greedy(),
        loop.errata.ask("What is here?", image=png_bytes(SCENES[1]), temperature=0),
    )
    store = loop.store()
    held = (store.responses.count_by_adapter(), store.corrections.count_by_status(), len(store.runs.recent()))
    loop.stop()
    kept = [path.read_text() for path in loop.settings.state.glob("logs/session_*/worker-*.out")]
    assert any('"event": "request"' in lines for lines in kept), "a replica's log outlives the server"
    assert any('"event": "run ended"' in lines for lines in kept), "and so does the aligner's"
    cluster = loop.start_by_serve_deploy()

    assert live_version(loop) == "v0001"
    assert (
        store.responses.count_by_adapter(),
        store.corrections.count_by_status(),
        len(store.runs.recent()),
    ) == held
    correction = loop.errata.feedback.create(reply.response_id, corrected_text=reply.text + " It is small.")
    assert correction.served_text == reply.text
    assert correction.adapter == "v0001"
    assert loop.greedy() == answers
    roll_out(loop, cluster, store)
    assert loop.greedy() == answers
    store.close()


def roll_out(loop: Loop, cluster: Deployed, store: Store) -> None:
    """Other replicas take the place of all, while people chat who try nothing twice."""
    before = live_replicas(store)
    stop, finish_reasons = threading.Event(), []

    def chat() -> None:
        impatient = Errata(base_url=f"{loop.address}/v1", max_retries=0)
        while not stop.is_set():
            reply = impatient.ask("What do you see?", image=png_bytes(SCENES[0]), temperature=1.0)
            finish_reasons.append(reply.finish_reason)

    with ThreadPoolExecutor(4) as pool:
        chats = [pool.submit(chat) for _ in range(4)]
        cluster.deploy(loop.settings.model_copy(update={"default_max_tokens": 200}))
        wait_until(lambda: not before & live_replicas(store), 300, "none of the replicas of before")
        stop.set()
        for chat_done in chats:
            chat_done.result()
    assert len(live_replicas(store)) == 2
    assert set(finish_reasons) <= {"stop", "length"}


def live_replicas(store: Store) -> set[str]:
    return {replica.id for replica in store.replicas.alive(5.0)}


def test_a_deleted_answer_ends_its_adapter_and_is_missing_from_the_next_one(loop: Loop) -> None:
    store = loop.store()
    story = loop.errata.adapters.get("v0001")
    correction_id = story.manifest["train"][0]
    response_id = store.corrections.get(correction_id).response_id
    (image,) = Conversation.from_json(store.responses.get(response_id).conversation).image_ids
    blob = loop.settings.state / "blobs" / "images" / image[:2] / image
    assert blob.exists()

    erasure = loop.errata.responses.delete(response_id)
    assert erasure.tainted == ["v0001"]
    assert erasure.alignment is not None
    assert not blob.exists()
    wait_until(lambda: live_version(loop) == "base", 60, "v0001 out of service")
    wait_until(lambda: store.adapters.get("v0001").status == "retired", 60, "v0001 retired")
    run = loop.errata.alignments.wait(erasure.alignment, timeout=600)
    assert (run.trigger, run.status) == ("erasure", "admitted"), run.reason
    wait_until(lambda: live_version(loop) == "v0002", 60, "the version without it")
    again = loop.errata.adapters.get("v0002").manifest
    seen = {role: set(again[role]) for role in ("train", "held_out", "general")}
    assert seen["train"] >= set(story.manifest["train"]) - {correction_id}
    assert correction_id not in seen["held_out"] | seen["general"]
    assert [use.version for use in loop.errata.feedback.get(correction_id).used_by] == ["v0001"]
    store.close()


def test_an_adapter_trained_too_hard_is_refused_with_its_reason(loop: Loop, tmp_path: Path) -> None:
    """On the same corrections, with the server down: its answers collapse, and the gate says so."""
    loop.stop()
    store, blobs = loop.store(), Blobs(loop.settings.blobs_url, cache=tmp_path)
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    too_hard = TrainingConfig().model_copy(update={"learning_rate": 2e-2})
    config = AlignmentConfig(training=too_hard)
    adapter = align(store, blobs, run, loop.settings.model, config, tmp_path / "run")

    assert adapter.status == "refused"
    ended = store.runs.get(run.id)
    assert ended.status == "refused"
    assert ended.reason is not None
    assert "refused" in ended.reason
    assert store.rollouts.in_force().live == "v0002"
    store.close()
