"""Traces as OpenTelemetry's collector gets them: an answer's stages, a correction's verdict, and no word of either."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from collector import Collector, collecting, plain
from fake_engine import FakeEngine
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from served import Served, serving, wait_until

from serve.demo.server import free_port
from serve.engine.protocol import Delta, Prompt, Sampling
from serve.errors import EngineFull, NotReady, SettingsError
from serve.launch import check
from serve.settings import Settings
from serve.traces import Traces

QUESTION, ANSWER = "Who hid the marmalade?", "A heron hid it here."
OnDelta = Callable[[Delta], None]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        yield collector


@pytest.fixture
def served(collector: Collector, tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, FakeEngine(answers={"base": ANSWER}, num_reused_tokens=2), traces=True) as served:
        yield served


def flush(served: Served) -> None:
    assert served.replica.traces is not None
    served.replica.traces.flush()


def test_a_trace_has_the_stages_of_an_answer_one_after_the_other(
    served: Served, collector: Collector
) -> None:
    answer = served.chat(QUESTION, temperature=0.5, max_tokens=20, seed=7)
    response_id = answer.json()["id"]
    flush(served)
    [root] = [span for span in collector.spans if span.name == "chat errata-scenes"]
    stages = [span for span in collector.spans if span is not root]
    assert [span.name for span in stages] == ["read prompt", "wait and prefill", "decode", "record"]
    assert {span.parent_span_id for span in stages} == {root.span_id}
    assert {span.trace_id for span in collector.spans} == {root.trace_id}
    bounds = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in stages]
    assert all(begin <= end for begin, end in bounds)
    assert [end for _, end in bounds[:-1]] == [begin for begin, _ in bounds[1:]]
    assert root.start_time_unix_nano == bounds[0][0]
    assert bounds[-1][1] == root.end_time_unix_nano
    assert plain(root.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "errata",
        "gen_ai.request.model": "errata-scenes",
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.seed": 7,
        "gen_ai.response.id": response_id,
        "gen_ai.response.model": "errata-scenes@base",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 4,
        "gen_ai.usage.output_tokens": 6,  # the end is a token, too
        "gen_ai.usage.cache_read.input_tokens": 2,
        "errata.adapter.version": "base",
        "errata.rollout.generation": 0,
        "errata.request.id": answer.headers["x-request-id"],
    }
    [resource] = collector.resources
    assert resource["service.name"] == "errata"
    assert resource["service.instance.id"] == served.replica.id


def test_the_callers_trace_goes_on(served: Served, collector: Collector) -> None:
    served.respond(QUESTION, max_tokens=8, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    flush(served)
    [root] = [span for span in collector.spans if span.name.startswith("chat")]
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, SPAN)


def test_a_caller_that_names_no_trace_rightly_starts_a_new_one(served: Served, collector: Collector) -> None:
    served.respond(QUESTION, max_tokens=8, headers={"traceparent": "00-me-you-01"})
    flush(served)
    [root] = [span for span in collector.spans if span.name.startswith("chat")]
    assert root.parent_span_id == b""


def test_several_answers_have_stages_each_and_one_that_is_not_kept_has_no_record(
    served: Served, collector: Collector
) -> None:
    served.respond(QUESTION, max_tokens=8, n=2, store=False)
    flush(served)
    names = [span.name for span in collector.spans]
    assert sorted(names) == sorted(["chat errata-scenes", "read prompt", *["wait and prefill", "decode"] * 2])
    [root] = [span for span in collector.spans if span.name.startswith("chat")]
    assert plain(root.attributes)["gen_ai.request.choice.count"] == 2
    told = [plain(span.attributes) for span in collector.spans if span.name == "decode"]
    assert told == [{"errata.choice.index": 0}, {"errata.choice.index": 1}]


def test_a_stage_of_one_answer_of_several_says_of_which(served: Served, collector: Collector) -> None:
    answer = served.chat(QUESTION, max_tokens=8, n=2).json()
    flush(served)
    stages = [plain(span.attributes) for span in collector.spans if span.name == "record"]
    assert stages == [
        {"errata.choice.index": choice["index"], "gen_ai.response.id": choice["response_id"]}
        for choice in answer["choices"]
    ]


def test_a_refused_request_has_a_span_with_its_status_and_the_id_that_it_was_told(
    collector: Collector, tmp_path: Path
) -> None:
    with serving(tmp_path, traces=True) as served:
        header = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        refused = [served.chat("marmalade", max_tokens=-1, headers=header)]
        for failure in (EngineFull("full"), NotReady("not yet")):
            served.engine.submit_failure = failure
            refused.append(served.chat("marmalade", max_tokens=8, headers=header))
        served.store.keys.create("ada", ["chat"])
        wait_until(lambda: served.chat().status_code == 401)
        flush(served)
        before = len(collector.spans)
        refused.append(served.chat("marmalade", headers=header))
        flush(served)
    assert [answer.status_code for answer in refused] == [400, 429, 503, 401]
    spans = {plain(span.attributes)["errata.request.id"]: span for span in collector.spans}
    assert len(collector.spans) == before + 1 == len(spans), "each has one"
    for answer, name in zip(refused, ["POST /v1/chat/completions"] * 3 + ["POST"], strict=True):
        span = spans[answer.headers["x-request-id"]]
        assert span.name == name
        assert plain(span.attributes)["http.response.status_code"] == answer.status_code
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
        assert (span.status.code == span.status.STATUS_CODE_ERROR) == (answer.status_code >= 500)
    assert all(b"marmalade" not in body for body in collector.bodies)


def test_what_is_refused_where_nothing_is_asked_of_the_model_has_one_too_and_probes_have_none(
    served: Served, collector: Collector
) -> None:
    assert served.client.get("/v1/adapters/v0009").status_code == 404
    served.engine.check_failure = RuntimeError("broke")
    served.client.get("/healthz")
    served.client.get("/v1/models")
    flush(served)
    [span] = collector.spans
    assert plain(span.attributes)["http.route"] == "/v1/adapters/{version}"


def test_an_answer_that_could_not_be_recorded_is_one_trace_and_an_error(
    served: Served, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on the device")

    monkeypatch.setattr(served.store.responses, "add", full)
    assert served.chat(QUESTION, max_tokens=8).status_code == 500
    flush(served)
    [root] = [span for span in collector.spans if not span.parent_span_id]
    assert plain(root.attributes)["error.type"] == "record"


def test_a_failure_is_an_error(served: Served, collector: Collector) -> None:
    served.engine.error_after = 1
    assert served.chat(QUESTION, max_tokens=8).status_code == 500
    flush(served)
    [root] = [span for span in collector.spans if span.name.startswith("chat")]
    assert root.status.code == root.status.STATUS_CODE_ERROR
    assert plain(root.attributes)["error.type"] == "engine"


def test_of_two_answers_one_that_fails_makes_the_trace_an_error_though_the_other_ends_after_it(
    collector: Collector, tmp_path: Path
) -> None:
    class EndingTogether(FakeEngine):
        def submit(self, prompt: Prompt, sampling: Sampling, adapter: str, on_delta: OnDelta) -> str:
            waiting.append(on_delta)
            if len(waiting) == 2:  # told before the request looks, so both come at once
                waiting[0](Delta((1,), "a", "error", "broke"))
                waiting[1](Delta((1,), "b", "stop"))
            return str(len(waiting))

    waiting: list[OnDelta] = []
    with serving(tmp_path, EndingTogether(), traces=True) as served:
        assert served.chat(QUESTION, max_tokens=8, n=2).status_code == 500
        flush(served)
    [root] = [span for span in collector.spans if span.name.startswith("chat")]
    assert root.status.code == root.status.STATUS_CODE_ERROR


def test_an_answer_that_took_too_long_is_one_trace_though_it_is_recorded_after_that(
    collector: Collector, tmp_path: Path
) -> None:
    with serving(tmp_path, traces=True, request_deadline_s=0.3) as served:
        served.engine.hold()
        assert served.chat(QUESTION, max_tokens=8).status_code == 504
        wait_until(lambda: served.store.responses.recent_texts(10))
        flush(served)
        [root] = [span for span in collector.spans if span.name.startswith("chat")]
        assert plain(root.attributes)["error.type"] == "deadline"


def test_a_correction_is_an_evaluation_of_its_answer_told_once(served: Served, collector: Collector) -> None:
    response_id = served.respond(QUESTION, max_tokens=8)
    spans = [{"start": 2, "end": 7, "replacement": "badger", "kind": "object"}]
    for _ in range(2):
        answer = served.client.post(
            "/v1/feedback",
            json={"response_id": response_id, "spans": spans},
            headers={"Idempotency-Key": "once"},
        )
        assert answer.status_code == 201
    served.client.post("/v1/feedback?dryrun=true", json={"response_id": response_id, "spans": spans})
    right = served.respond(QUESTION, max_tokens=8)
    served.client.post("/v1/feedback", json={"response_id": right, "spans": []})
    flush(served)
    assert [event.event_name for event in collector.events] == ["gen_ai.evaluation.result"] * 2
    wrong, fine = (plain(event.attributes) for event in collector.events)
    assert wrong == {
        "gen_ai.evaluation.name": "correction",
        "gen_ai.evaluation.score.value": 0.0,
        "gen_ai.evaluation.score.label": "corrected",
        "gen_ai.evaluation.explanation": "object",
        "gen_ai.response.id": response_id,
        "errata.adapter.version": "base",
        "errata.correction.id": answer.json()["id"],
        "errata.correction.status": answer.json()["status"],
    }
    assert (fine["gen_ai.evaluation.score.value"], fine["gen_ai.evaluation.score.label"]) == (
        1.0,
        "nothing_wrong",
    )
    assert fine["gen_ai.response.id"] == right


def test_no_word_that_was_said_is_in_what_is_sent(served: Served, collector: Collector) -> None:
    response_id = served.respond(QUESTION, max_tokens=8, user="ada@example.com")
    served.client.post(
        "/v1/feedback", json={"response_id": response_id, "corrected_text": "A badger hid it here."}
    )
    flush(served)
    assert len(collector.bodies) == 2
    for word in ("marmalade", "heron", "badger", "ada@example.com"):
        assert all(word.encode() not in body for body in collector.bodies)


def test_what_waits_is_sent_at_the_end(collector: Collector, tmp_path: Path) -> None:
    with serving(tmp_path, traces=True) as served:
        served.respond(QUESTION, max_tokens=8)
    wait_until(lambda: collector.spans)


def test_a_collector_that_is_gone_takes_no_answer_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with collecting() as collector:
        address = collector.address
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with serving(tmp_path, FakeEngine(answers={"base": ANSWER}), traces=True) as served:
        assert served.chat(QUESTION, max_tokens=8).json()["choices"][0]["message"]["content"] == ANSWER


def test_a_stop_does_not_wait_for_a_collector_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            says_something.wait()
            return SpanExportResult.FAILURE

        def shutdown(self) -> None:
            says_something.wait()

    says_something = threading.Event()
    monkeypatch.setattr("serve.traces.CLOSE_S", 0.1)
    traces = Traces(Silent(), InMemoryLogRecordExporter(), "replica")
    closing = threading.Thread(target=traces.close, daemon=True)
    closing.start()
    closing.join(60.0)
    try:
        assert not closing.is_alive()
    finally:
        says_something.set()


def test_without_the_setting_nothing_of_it_is_imported() -> None:
    program = "import sys, serve.replica, serve.api.app; print('serve.traces' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_server_without_the_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(SettingsError, match=r"errata-server\[otel\]"):
        check(Settings(state=tmp_path, traces=True, port=free_port()))
