"""One replica's page, and the page of all of them: well formed, told apart, without clutter."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from fake_engine import FakeEngine
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from records import adapter_row, correction, response

from align.state import Store
from serve.metrics import ReplicaMetrics, deployment_page


@pytest.fixture
def metrics() -> ReplicaMetrics:
    engine = FakeEngine()
    engine.loaded["v0001"] = Path()
    metrics = ReplicaMetrics(engine)
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
        assert (
            figures.pop(("errata_resident_memory_bytes",)) > 2**24
        )  # not the same from one look to the next
    assert served == read
    metrics.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_pages_are_joined_and_told_apart(store: Store, metrics: ReplicaMetrics) -> None:
    text = deployment_page(store, {"a": page(metrics), "b": page(metrics)}).decode()
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
    adapter_row(store)
    store.rollouts.commit(store.rollouts.propose("v0001").generation, ahead_s=0.0)
    figures = values(deployment_page(store, {"a": page(metrics)}).decode())
    assert figures["errata_corrections", "status=accepted"] == 1.0
    assert figures["errata_corrected_responses", "adapter=base"] == 1.0
    assert figures["errata_corrections", "status=erased"] == 1.0
    assert figures["errata_quarantined_corrections", "reason=burst"] == 1.0
    assert figures["errata_runs", "status=requested"] == 1.0
    assert figures["errata_rollout_generation",] == 1.0
    assert figures["errata_live_adapter_info", "version=v0001"] == 1.0
