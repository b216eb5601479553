"""Errata on three nodes: what people see, and what is stored, when a node is cut off, comes back, or dies.

The nodes are network namespaces of this machine, so that a cable can be pulled. One cluster lives through all tests of
this file, in the order in which they stand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

import httpx
import psutil
import pytest
from errata import Errata
from network import Machine, network
from openai import OpenAIError
from postgresql_server import postgresql_server
from ray_nodes import RayNodes, ray_nodes
from s3_server import s3_server

from align.config import GateConfig, TrainingConfig
from align.scenes.captions import CAPTION_PROMPTS
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene
from align.state import Blobs, Replica, Store
from align.state.runs import JUDGED
from benchmarks.chaos.processes import of_role
from serve.drill.versions import publish_random
from serve.settings import AlignmentSettings, Settings

pytestmark = pytest.mark.cluster

NUM_CORRECTIONS = 24
SCENES = [sample_scene("honest", "test", index) for index in range(NUM_CORRECTIONS)]


@dataclass
class Cluster:
    nodes: RayNodes
    store: Store
    key: str

    @property
    def workers(self) -> list[Machine]:
        return self.nodes.network.machines[1:]

    @property
    def address(self) -> str:
        return f"http://{self.nodes.network.machines[0].address}:{self.nodes.settings.port}"

    def errata(self, timeout: float = 120.0) -> Errata:
        return Errata(base_url=f"{self.address}/v1", api_key=self.key, timeout=timeout, max_retries=0)

    def replicas(self) -> dict[str, list[Replica]]:
        """Those that are heard of, by the address of their node."""
        found: dict[str, list[Replica]] = {}
        for replica in self.store.replicas.alive(self.nodes.settings.rollout.dead_after_s):
            found.setdefault(str(httpx.URL(replica.url).host), []).append(replica)
        return found

    def ask(self, timeout: float = 120.0) -> str:
        """The version that answers."""
        image = png_bytes(SCENES[0])
        return self.errata(timeout).ask(CAPTION_PROMPTS[0], image=image, temperature=0, max_tokens=16).adapter

    def versions(self, number: int = 8) -> set[str]:
        """Who answers so many requests; one that is lost with its replica is sent again."""
        found: set[str] = set()
        for _ in range(number):
            wait_until(lambda: self._answers_with(found), 120, "an answer")
        return found

    def _answers_with(self, found: set[str]) -> bool:
        try:
            found.add(self.ask(timeout=10.0))
        except OpenAIError:
            return False
        return True

    def holds(self, version: str, number: int) -> bool:
        """Whether so many replicas are heard of, and each has it."""
        replicas = [one for found in self.replicas().values() for one in found]
        return len(replicas) == number and all(version in one.adapters for one in replicas)

    def trains_on(self, run_id: str) -> set[str]:
        """The addresses of the nodes on which workers of a run are just now."""
        found = set()
        for path in (self.nodes.settings.state / "runs" / run_id).glob("worker-*.json"):
            with suppress(FileNotFoundError):
                pid = json.loads(path.read_text())["pid"]
                found.update(one.address for one in self.workers if one.has(pid))
        return found

    def with_aligner(self) -> Machine:
        """The worker with the aligner, which is first killed until it is on none but one of these."""
        while True:
            wait_until(lambda: self._aligner() is not None, 300, "an aligner")
            process = self._aligner()
            for machine in self.workers:
                if process is not None and machine.has(process.pid):
                    return machine
            if process is not None:
                process.kill()
                process.wait(30)

    def _aligner(self) -> psutil.Process | None:
        found = of_role("aligner", list(psutil.process_iter()))
        machines = self.nodes.network.machines
        return next((one for one in found if any(machine.has(one.pid) for machine in machines)), None)

    def promote(self, version: str) -> None:
        self.errata().adapters.promote(version)

    def is_live(self, version: str) -> bool:
        return self.store.rollouts.in_force().live == version


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        net = stack.enter_context(network(3))
        s3 = stack.enter_context(s3_server(net.address))
        database = stack.enter_context(postgresql_server(address=net.address)).new_database()
        env = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": s3.url}
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in env.items():
            patch.setenv(name, value)
        training = TrainingConfig(num_workers=2, num_epochs=1)
        settings = Settings(
            state=folder / "state",  # on a disk that all nodes reach
            database=database,
            blobs=s3.new_bucket("errata"),
            host="0.0.0.0",
            num_replicas=2,
            alignment=AlignmentSettings(
                min_corrections=NUM_CORRECTIONS,
                training=training,
                gate=GateConfig(max_new_tokens=8, num_resamples=100),
                auto_promote=False,
            ),
        )
        store = stack.enter_context(closing(Store(database)))
        _, key = store.keys.create("test", ("chat", "feedback", "admin"))
        publish_random(settings.model, store, Blobs(settings.blobs_url, cache=folder / "cache"), seed=1)
        nodes = stack.enter_context(ray_nodes(net, settings, folder, env))
        yield Cluster(nodes, store, key)


def test_a_replica_on_each_node_answers_with_the_version_that_was_promoted(cluster: Cluster) -> None:
    assert set(cluster.replicas()) == {machine.address for machine in cluster.workers}
    assert cluster.versions() == {"base"}
    cluster.promote("v0001")
    wait_until(lambda: cluster.is_live("v0001"), 60, "v0001 live")
    assert cluster.versions() == {"v0001"}
    assert all(one.prepared == 1 for replicas in cluster.replicas().values() for one in replicas)


def test_corrections_are_learned_by_training_workers_on_two_nodes(cluster: Cluster) -> None:
    errata = cluster.errata()
    for scene in SCENES:
        reply = errata.ask(CAPTION_PROMPTS[0], image=png_bytes(scene), max_tokens=24)
        errata.feedback.create(reply.response_id, corrected_text=f"{reply.text} It is small.")
    wait_until(lambda: cluster.store.runs.under_way(), 60, "a run by the number of corrections")
    (run,) = cluster.store.runs.under_way()
    trained_on: set[str] = set()

    def is_ended() -> bool:
        trained_on.update(cluster.trains_on(run.id))
        return cluster.store.runs.get(run.id).is_ended

    wait_until(is_ended, 300, "the run's end")
    ended = cluster.store.runs.get(run.id)
    assert ended.status in JUDGED, ended.reason
    assert trained_on == {machine.address for machine in cluster.workers}


def test_a_node_that_was_cut_off_for_some_seconds_comes_back_to_what_was_promoted_meanwhile(
    cluster: Cluster,
) -> None:
    away = cluster.workers[1]
    (before,) = cluster.replicas()[away.address]
    away.cut_off()
    wait_until(lambda: away.address not in cluster.replicas(), 60, "no word from who is cut off")
    cluster.promote("v0002")
    wait_until(lambda: cluster.is_live("v0002"), 60, "v0002 live without who is cut off")
    assert cluster.versions(3) == {"v0002"}

    away.connect()
    assert cluster.versions(12) == {"v0002"}, "none is answered by what was live before"
    wait_until(lambda: cluster.holds("v0002", 2), 120, "both replicas hold v0002")
    assert [one.id for one in cluster.replicas()[away.address]] == [before.id]
    assert cluster.versions(12) == {"v0002"}


def test_when_a_node_dies_the_others_answer_and_a_new_replica_holds_what_is_live(cluster: Cluster) -> None:
    dead = cluster.workers[1]
    cluster.nodes.kill(dead)
    assert cluster.versions(4) == {"v0002"}
    wait_until(lambda: dead.address not in cluster.replicas(), 60, "no word from who is dead")
    wait_until(lambda: cluster.holds("v0002", 2), 300, "another replica in its place")
    cluster.promote("v0003")
    wait_until(lambda: cluster.is_live("v0003"), 60, "v0003 live")
    assert cluster.versions() == {"v0003"}


def test_a_run_whose_aligner_is_cut_off_is_ended_by_another_one_on_another_node(cluster: Cluster) -> None:
    """Its training workers need both nodes: they wait until the lost one has been started again."""
    cluster.nodes.start_dead_workers()
    lost = cluster.with_aligner()
    run = cluster.store.runs.request("request")
    wait_until(lambda: cluster.store.runs.get(run.id).status == "running", 120, "the run under way")
    lost.cut_off()
    wait_until(lambda: cluster.store.runs.get(run.id).attempts > 1, 300, "the run taken up by another one")
    lost.connect()
    cluster.nodes.start_worker(lost)

    def is_ended() -> bool:
        cluster.nodes.start_dead_workers()  # a start that takes 30 s is one that Ray gives up
        return cluster.store.runs.get(run.id).is_ended

    wait_until(is_ended, 600, "the run's end")
    ended = cluster.store.runs.get(run.id)
    assert ended.status in JUDGED, ended.reason
    assert [one.run_id for one in cluster.store.adapters.all()].count(run.id) == 1
    assert cluster.versions() == {"v0003"}
