"""A run's trace as OpenTelemetry's collector gets it: its stages, what came of it, and no word that it learned from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aligners import MakeAligner, correct, ending
from collector import Collector, collecting, plain
from sqlalchemy.exc import OperationalError

from align import alignment as module
from align.errors import TrainingFailed, TrainingStopped
from align.state import Adapter, Blobs, Run, Store
from serve.aligner import Aligner

STAGES = ["prepare", "train", "measure", "publish"]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        yield collector


@pytest.fixture
def aligner(collector: Collector, make_aligner: MakeAligner) -> Aligner:
    return make_aligner(traces=True)


def going(as_far_as: int, end: str | Exception) -> Any:
    """An `align` that comes to so many stages, and then to its end."""

    def align(store: Store, blobs: Blobs, run: Run, *arguments: Any) -> Adapter:
        for stage in STAGES[:as_far_as]:
            arguments[-1](stage)
        if isinstance(end, Exception):
            raise end
        return ending(end)(store, blobs, run, *arguments)

    return align


def told(aligner: Aligner, collector: Collector) -> tuple[Any, list[Any]]:
    """The span of the only run, and those of its stages."""
    aligner.stop()
    [root] = [span for span in collector.spans if not span.parent_span_id]
    return root, [span for span in collector.spans if span is not root]


def test_a_run_is_one_trace_with_its_stages_one_after_the_other_and_what_came_of_it(
    aligner: Aligner, collector: Collector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", going(4, "admitted"))
    correct(store, 3)
    run = aligner.step()
    assert run is not None
    root, stages = told(aligner, collector)
    assert root.name == "align"
    assert plain(root.attributes) == {
        "errata.run.id": run.id,
        "errata.run.trigger": "count",
        "errata.run.attempt": 1,
        "errata.run.outcome": "admitted",
        "errata.adapter.version": "v0001",
    }
    assert [span.name for span in stages] == STAGES
    assert {span.parent_span_id for span in stages} == {root.span_id}
    assert [span.end_time_unix_nano for span in stages[:-1]] == [
        span.start_time_unix_nano for span in stages[1:]
    ]
    assert stages[-1].end_time_unix_nano == root.end_time_unix_nano
    [resource] = collector.resources
    assert "-aligner-" in resource["service.instance.id"]


def test_a_run_that_failed_ends_with_the_stage_that_failed_and_says_nothing_of_what_it_read(
    aligner: Aligner, collector: Collector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "align", going(2, TrainingFailed("it said: the heron hid the marmalade")))
    correct(store, 3)
    aligner.step()
    root, stages = told(aligner, collector)
    assert [span.name for span in stages] == ["prepare", "train"]
    assert root.status.code == root.status.STATUS_CODE_ERROR
    assert plain(root.attributes)["error.type"] == "TrainingFailed"
    assert plain(root.attributes)["errata.run.outcome"] == "failed"
    assert all(word not in body for body in collector.bodies for word in (b"marmalade", b"heron"))


@pytest.mark.parametrize("error", [TrainingStopped("for now"), OperationalError("", {}, OSError("away"))])
def test_an_attempt_that_broke_off_says_so_and_is_no_error(
    aligner: Aligner,
    collector: Collector,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    monkeypatch.setattr(module, "align", going(2, error))
    correct(store, 3)
    aligner.step()
    root, stages = told(aligner, collector)
    assert len(stages) == 2
    assert plain(root.attributes)["errata.run.outcome"] == "broken off"
    assert root.status.code != root.status.STATUS_CODE_ERROR
