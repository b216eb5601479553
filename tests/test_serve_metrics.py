"""One replica's page, and the page of all of them: well formed, told apart, without clutter."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import httpx
import pytest
from fake_engine import FakeEngine
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from records import adapter_row, correction, response
from served import wait_until
from sqlalchemy import update

from align.state import Replica, Store, schema
from serve.metrics import ReplicaMetrics, StoreCollector, deployment_page
from serve.metrics.runs import last_in_a_row
from serve.settings import Settings

SETTINGS = Settings()

pytestmark = pytest.mark.every_database


@pytest.fixture
def metrics(tmp_path: Path) -> ReplicaMetrics:
    engine = FakeEngine()
    engine.loaded["v0001"] = Path()
    metrics = ReplicaMetrics(engine, tmp_path)
    metrics.requests.labels("/v1/models", 200).inc()
    metrics.request_seconds.labels("/v1/models").observe(0.02)
    metrics.responses.labels("base", "stop").inc(3)
    return metrics


def page(metrics: ReplicaMetrics) -> str:
    return generate_latest(metrics.registry).decode()


def values(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_names_have_the_prefix_and_counters_have_no_creation_time(metrics: ReplicaMetrics) -> None:
    names = re.findall(r"^# TYPE (\S+)", page(metrics), re.M)
    assert len(names) >= 9
    assert all(name.startswith("errata_") for name in names)
    assert "_created" not in page(metrics)


def test_gauges_are_read_from_the_engine_when_they_are_asked_for(metrics: ReplicaMetrics) -> None:
    figures = values(page(metrics))
    assert figures["errata_sequence_slots",] == 4.0
    assert figures["errata_adapters_resident",] == 1.0


def test_a_replica_serves_its_own_page_until_it_closes(metrics: ReplicaMetrics) -> None:
    url = metrics.listen("127.0.0.1")
    served, read = values(httpx.get(url, trust_env=False).text), values(page(metrics))
    for figures in (served, read):
        # not the same from one look to the next
        assert figures.pop(("errata_resident_memory_bytes",)) > 2**24
        assert 0 < figures.pop(("errata_disk_free_bytes",)) < figures["errata_disk_size_bytes",]
    assert served == read
    metrics.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_pages_are_joined_and_told_apart(store: Store, metrics: ReplicaMetrics) -> None:
    text = deployment_page(StoreCollector(store, SETTINGS), {"a": page(metrics), "b": page(metrics)}).decode()
    types = re.findall(r"^# TYPE (\S+) (\S+)", text, re.M)
    assert len({name for name, _ in types}) == len(types), "each family stands once"
    assert dict(types)["errata_responses_total"] == "counter"
    assert dict(types)["errata_request_seconds"] == "histogram"
    figures = values(text)
    assert figures["errata_replicas",] == 2.0
    for replica in ("a", "b"):
        assert (
            figures["errata_responses_total", "adapter=base", "finish_reason=stop", f"replica={replica}"]
            == 3.0
        )
        assert figures["errata_request_seconds_sum", f"replica={replica}", "route=/v1/models"] == 0.02
    assert "_created" not in text


def test_the_stores_figures_are_there_once(store: Store, metrics: ReplicaMetrics) -> None:
    store.responses.add(response("r1"))
    store.corrections.add(correction("c1"))
    store.corrections.add(correction("c2"))
    store.erasures.correction("c1")
    store.corrections.add(correction("c3", status="quarantined", reason="burst"))
    store.runs.request("request")
    figures = values(deployment_page(StoreCollector(store, SETTINGS), {"a": page(metrics)}).decode())
    assert figures["errata_corrections", "status=accepted"] == 1.0
    assert figures["errata_recorded_responses", "adapter=base"] == 1.0
    assert figures["errata_corrected_responses", "adapter=base"] == 1.0
    assert figures["errata_corrections", "status=erased"] == 1.0
    assert figures["errata_quarantined_corrections", "reason=burst"] == 1.0
    assert figures["errata_runs", "status=requested"] == 1.0
    assert figures["errata_new_corrections",] == 1.0
    assert figures["errata_new_corrections_needed",] == SETTINGS.alignment.min_corrections


def test_a_scrape_does_not_wait_for_a_count_of_whole_tables(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    count = store.outcomes.count_corrected

    def count_for_long() -> dict[str, int]:
        may_end.wait()
        return count()

    monkeypatch.setattr(store.outcomes, "count_corrected", count_for_long)
    shared = StoreCollector(store, SETTINGS)
    store.responses.add(response("r1"))
    store.corrections.add(correction("c1"))
    try:
        text = deployment_page(shared, {}).decode()
        assert "errata_corrected_responses" in text, "the family is known"
        figures = values(text)
        assert not {name for name, *_ in figures} & {"errata_corrections", "errata_counted_timestamp_seconds"}
        assert figures["errata_new_corrections",] == 1.0
    finally:
        may_end.set()
    wait_until(
        lambda: values(deployment_page(shared, {}).decode()).get(
            ("errata_corrected_responses", "adapter=base")
        )
    )
    assert ("errata_counted_timestamp_seconds",) in values(deployment_page(shared, {}).decode())


def test_figures_of_runs_are_those_of_the_newest_ones(store: Store) -> None:
    def figures() -> dict[tuple[str, ...], float]:
        return values(deployment_page(StoreCollector(store, SETTINGS), {}).decode())

    assert not {"errata_run_heartbeat_timestamp_seconds", "errata_training_loss"} & {
        one[0] for one in figures()
    }
    change = {"low": 0.1, "estimate": 0.4, "high": None}
    gate = {"seconds": 7.0, "comparisons": {"held_out.margin": {"change": change}}}
    store.runs.request("request")
    run = store.runs.claim()
    assert run is not None
    store.runs.update(run, progress={"step": 3, "num_steps": 9, "loss": 0.5, "logps/chosen_change": -0.25})
    under_way = figures()
    assert under_way["errata_run_heartbeat_timestamp_seconds",] == pytest.approx(time.time(), abs=60)
    assert under_way["errata_training_step",] == 3.0
    assert under_way["errata_training_loss",] == 0.5
    assert under_way["errata_training_chosen_logps_change",] == -0.25
    assert not any(name[0] == "errata_runs_in_a_row" for name in under_way)

    adapter_row(store, "refused", run_id=run.id, report={"training": {"seconds": 5.0}, "gate": gate})
    ended = figures()
    assert ("errata_run_heartbeat_timestamp_seconds",) not in ended
    assert ended["errata_runs_in_a_row", "status=refused"] == 1.0
    assert ended["errata_training_seconds",] == 5.0
    assert ended["errata_gate_seconds",] == 7.0
    assert ended["errata_gate_change", "end=low", "figure=held_out.margin"] == 0.1
    assert ("errata_gate_change", "end=high", "figure=held_out.margin") not in ended
    assert ended["errata_adapters", "status=refused"] == 1.0


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], {}),
        (["requested", "running"], {}),
        (["refused", "refused", "admitted", "refused"], {"refused": 2}),
        (["running", "failed", "refused", "failed"], {"failed": 1}),
    ],
)
def test_the_last_runs_that_ended_alike_are_counted(statuses: list[str], expected: dict[str, int]) -> None:
    assert last_in_a_row(statuses) == expected


def test_figures_of_a_rollout_tell_who_answers_and_who_is_behind(store: Store) -> None:
    def figures() -> dict[tuple[str, ...], float]:
        return values(deployment_page(StoreCollector(store, SETTINGS), {}).decode())

    adapter_row(store)
    adapter_row(store)
    now = time.time()
    store.replicas.report(Replica("a", now, "", 1, None, []))
    store.replicas.report(Replica("b", now, "", 0, None, []))
    store.replicas.report(Replica("dead", now, "", 0, None, []))
    with store.database.write() as connection:  # reports are of the moment, by the database's clock
        of_the_dead = schema.replicas.c.id == "dead"
        connection.execute(update(schema.replicas).where(of_the_dead).values(heartbeat=now - 3600))
    first = store.rollouts.propose("v0001").generation
    assert 0 <= figures()["errata_rollout_preparing_seconds",] < 60
    store.rollouts.abandon(first, "no")
    store.rollouts.commit(store.rollouts.propose("v0001").generation, ahead_s=0.0)
    store.rollouts.commit(store.rollouts.propose("v0001", "v0002", 0.25).generation, ahead_s=0.0)
    found = figures()
    assert found["errata_rollout_preparing_seconds",] == 0.0
    assert found["errata_rollout_generation",] == 3.0
    assert found["errata_rollouts", "status=abandoned"] == 1.0
    assert found["errata_rollouts", "status=committed"] == 2.0
    assert 0 <= found["errata_rollout_switch_seconds",] < 60
    assert found["errata_rollout_candidate_share_ratio",] == 0.25
    roles = {tuple(one[1:]) for one in found if one[0] == "errata_rollout_adapter_info"}
    assert roles == {
        ("role=live", "version=v0001"),
        ("role=candidate", "version=v0002"),
        ("role=previous", "version=base"),
    }
    replicas = {one[1]: value for one, value in found.items() if one[0] == "errata_replica_generation"}
    assert replicas == {"replica=a": 1.0, "replica=b": 0.0}, "the dead one is nobody's concern any more"
    assert found["errata_withheld_in_service",] == 0.0
    with store.database.write() as connection:
        connection.execute(update(schema.adapters).values(tainted=1.0))
    assert figures()["errata_withheld_in_service",] == 2.0
