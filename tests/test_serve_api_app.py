"""The application around the routes: health, figures of all replicas, documentation, limits, errors."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote, urljoin

import httpx
import pytest
from fake_engine import SETUP
from prometheus_client.parser import text_string_to_metric_families
from records import adapter_row
from served import MODEL, Served, body, error, serving, wait_until
from sqlalchemy.exc import OperationalError
from starlette.types import Receive, Scope, Send

from serve.api import health
from serve.api.measure import Measure
from serve.errors import ServeError


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("state"), max_body_bytes=2000) as served:
        yield served


def test_every_route_is_documented(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 17
    for method, path, operation in operations:
        assert operation.get("description"), f"{method} {path} says nothing of itself"
        is_guarded = path.startswith(("/v1", "/feedback"))
        statuses = set(operation["responses"])
        assert not statuses & {"4XX", "5XX", "default"}, f"{method} {path} names no status"
        assert statuses >= ({"401", "403", "413", "429", "500"} if is_guarded else {"413", "500"})
        for status in statuses - {"200", "201", "202"}:
            (media,) = operation["responses"][status]["content"].values()
            model = "ReadinessAnswer" if (path, status) == ("/readyz", "503") else "ErrorAnswer"
            assert media["schema"] == {"$ref": f"#/components/schemas/{model}"}, f"{method} {path} {status}"
        assert bool(operation.get("security")) == is_guarded, f"{method} {path}"


def test_errors_of_the_router_have_openais_shape(served: Served) -> None:
    assert error(served.client.get("/nothing"), 404)["message"] == "GET /nothing: Not Found"
    response = served.client.delete("/v1/models")
    error(response, 405)
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback", "/v1/alignments"])
def test_a_large_body_is_refused_by_its_length_alone(served: Served, path: str) -> None:
    answer = served.client.post(path, json=body("x" * 3000))
    assert "a request may have 2000 bytes" in error(answer, 413)["message"]


@pytest.mark.parametrize("length", ["many", "-1", "1e3"])
def test_a_length_that_is_no_number_is_refused(served: Served, length: str) -> None:
    answer = served.client.post("/v1/alignments", content=b"{}", headers={"Content-Length": length})
    error(answer, 413)


SPLIT = "evil\r\nX-Injected: 1\r\n\r\n<script>"


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_that_a_user_says_is_in_a_header(served: Served, stream: bool) -> None:
    said = body(SPLIT, model=MODEL, user=SPLIT, stop=[SPLIT], metadata={"a": SPLIT}, stream=stream)
    answers = [
        served.client.post("/v1/chat/completions", json=said),
        served.client.post("/v1/chat/completions", json={**said, "model": MODEL + "@" + SPLIT}),
        served.client.post("/v1/chat/completions", json={**said, SPLIT: SPLIT}),
        served.client.get(f"/v1/models/{quote(SPLIT)}"),
        served.client.get(f"/v1/adapters/{quote(SPLIT)}"),
        served.client.get(f"/{quote(SPLIT)}?{quote(SPLIT)}"),
        served.client.post("/v1/feedback", json={"response_id": SPLIT, "spans": [], "author": SPLIT}),
        served.client.get("/v1/models", headers={"X-Request-Id": "evil", "Idempotency-Key": "evil"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 400, 404, 404, 404, 404, 200]
    for answer in answers:
        assert "x-injected" not in answer.headers
        assert not any("evil" in value or "script" in value for value in answer.headers.values())


def test_what_a_user_says_stays_on_its_line_of_the_log(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(SPLIT)

    monkeypatch.setattr(served.store.adapters, "all", fail)
    served.client.get(f"/v1/models/{MODEL}%0d%0aevil")
    error(served.client.get("/v1/models"), 500)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(json.loads(line)["level"] for line in lines)


def test_health_and_readiness(served: Served) -> None:
    assert served.client.get("/healthz").json() == {"status": "ok"}
    ready = served.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "generation": 0,
        "live": "base",
        "replica": served.replica.id,
        "engine": asdict(SETUP),
    }


def test_a_replica_that_is_behind_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        adapter_row(served.store, blob="missing")
        served.store.rollouts.commit(served.store.rollouts.propose("v0001").generation, ahead_s=0.0)
        wait_until(lambda: served.client.get("/readyz").status_code == 503)
        behind = served.client.get("/readyz")
        assert (behind.json()["status"], behind.json()["live"]) == ("behind", "v0001")
        assert behind.headers["retry-after"] == "1"


def test_a_replica_whose_engine_has_failed_is_not_ready(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.engine, "check_failure", ServeError("the engine's process has ended"))
    failed = served.client.get("/readyz")
    assert (failed.status_code, failed.json()["status"]) == (503, "failed")
    assert failed.headers["retry-after"] == "1"


def test_prometheus_finds_each_replica_by_itself(served: Served) -> None:
    (target,) = served.client.get("/metrics/targets").json()
    assert target["labels"] == {"replica": served.replica.id, "__metrics_path__": "/metrics"}
    (address,) = target["targets"]
    page = httpx.get(f"http://{address}{target['labels']['__metrics_path__']}", trust_env=False).text
    assert "errata_requests_total" in page
    assert "replica=" not in page  # Prometheus adds it


def test_the_page_of_the_documentation_loads_nothing_from_elsewhere(served: Served) -> None:
    page = served.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 3
    for address in loaded:
        answer = served.client.get(urljoin("/docs", address))
        assert answer.status_code == 200
        assert len(answer.content) > 500
    assert "://" not in re.sub(r"<!--.*?-->", "", page.text, flags=re.S)
    assert re.search(r"url: '(\S+)'", page.text).group(1) == "openapi.json"  # type: ignore[union-attr]  # it is there
    error(served.client.get("/docs/assets/..%2f__init__.py"), 404)
    error(served.client.get("/redoc"), 404)


def samples(served: Served) -> dict[tuple[str, ...], float]:
    page = served.client.get("/metrics").text
    return {
        (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_an_answer_leaves_its_figures(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        words = served.chat().json()["usage"]
        own = f"replica={served.replica.id}"
        figures = samples(served)
        assert figures["errata_generated_tokens_total", "adapter=base", own] == words["completion_tokens"]
        assert figures["errata_prompt_tokens_total", "adapter=base", own] == words["prompt_tokens"]
        read = "errata_read_prompt_tokens_total", "adapter=base", own
        assert figures[*read, "source=new"] == words["prompt_tokens"]
        assert figures[*read, "source=reused"] == 0
        assert figures["errata_first_token_seconds_count", "adapter=base", own] == 1.0
        assert figures["errata_token_seconds_count", "adapter=base", own] == 1.0
        assert figures["errata_record_seconds_count", own] == 1.0
        assert figures["errata_requests_in_progress", own] == 1.0, "the one that asks for the figures"
        served.engine.num_reused_tokens = 3
        served.chat(store=False)
        figures = samples(served)
        assert figures["errata_record_seconds_count", own] == 1.0, "nothing was put on record"
        assert figures[*read, "source=new"] == 2 * words["prompt_tokens"] - 3
        assert figures[*read, "source=reused"] == 3


def test_figures_of_all_replicas_stand_on_one_page(tmp_path: Path) -> None:
    with serving(tmp_path) as one, serving(tmp_path) as two:
        one.respond()
        two.respond()
        two.respond()
        both = {one.replica.id: 1.0, two.replica.id: 2.0}
        for asked in (one, two):
            figures = samples(asked)
            assert figures["errata_replicas",] == 2.0
            for replica, number in both.items():
                key = ("errata_responses_total", "adapter=base", "finish_reason=stop", f"replica={replica}")
                assert figures[key] == number
        two.replica.metrics.close()
        figures = samples(one)
        assert figures["errata_replicas",] == 1.0, (
            "one that does not answer is missing, and the page is there"
        )
        two.replica.metrics._server = None


@pytest.mark.parametrize("hangs", [False, True])
def test_while_the_database_is_away_a_replica_tells_its_own_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    with serving(tmp_path) as served:
        served.respond()
        assert samples(served)["errata_database_up",] == 1.0
        is_back = threading.Event()

        def fail(*_: object) -> None:
            if hangs:
                is_back.wait(20.0)
            raise OperationalError("SELECT", {}, OSError("away"))

        monkeypatch.setattr(health, "PATIENCE_S", 0.5)
        own = f"replica={served.replica.id}"
        # before the replicas are found, and in the middle of the store's figures
        for part, name in ((served.replica.store.replicas, "alive"), (served.replica.store.runs, "statuses")):
            with monkeypatch.context() as outage:
                outage.setattr(part, name, fail)
                figures = samples(served)
            assert figures["errata_database_up",] == 0.0
            assert figures["errata_replicas",] == 1.0
            assert figures["errata_responses_total", "adapter=base", "finish_reason=stop", own] == 1.0
            assert ("errata_new_corrections",) not in figures
        is_back.set()
        monkeypatch.undo()
        wait_until(lambda: samples(served)["errata_database_up",] == 1.0)


def away(*_: object, **__: object) -> None:
    raise OperationalError("SELECT", {}, OSError("away"))


def test_a_request_that_needs_the_database_while_it_is_away_is_to_come_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.store.responses, "get", away)
    answer = served.client.get("/v1/responses/r1")
    assert "database cannot be used just now" in error(answer, 503)["message"]
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("part", ["exist", "active"])
def test_who_asks_cannot_be_known_while_the_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    with serving(tmp_path) as served:
        _, secret = served.store.keys.create("ada", ["chat"])
        monkeypatch.setattr(served.store.keys, part, away)
        answer = served.client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
        assert "database cannot be used just now" in error(answer, 503)["message"]


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_that_cannot_be_recorded_while_the_database_is_away_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    with serving(tmp_path) as served:
        monkeypatch.setattr(served.store.responses, "add", away)
        assert "database cannot be used just now" in served.chat(stream=is_stream).text


def test_requests_are_counted_by_route_and_status_and_timed_to_the_last_byte(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.chat(stream=True)
        served.chat(temperature=9)
        served.client.get("/v1/adapters/v9")
        served.client.get("/nothing/v9")
        figures = samples(served)
        replica = f"replica={served.replica.id}"

        def requests(route: str, status: int) -> float:
            return figures["errata_requests_total", replica, f"route={route}", f"status={status}"]

        assert requests("/v1/chat/completions", 200) == requests("/v1/chat/completions", 400) == 1.0
        assert requests("/v1/adapters/{version}", 404) == 1.0, (
            "a route, not a path: paths would grow without end"
        )
        assert requests("unknown", 404) == 1.0
        assert figures["errata_request_seconds_count", replica, "route=/v1/chat/completions"] == 2.0


def test_a_client_that_left_is_no_failure_of_the_server(tmp_path: Path) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "headers": []}

    async def leave(measure: Measure) -> None:
        task = asyncio.create_task(measure(scope, None, None))  # type: ignore[arg-type]  # unused
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with serving(tmp_path) as served:
        asyncio.run(leave(Measure(app, served.replica.metrics)))
        key = ("errata_requests_total", f"replica={served.replica.id}", "route=unknown", "status=499")
        assert samples(served)[key] == 1.0


def test_a_streams_time_is_that_of_its_last_byte(tmp_path: Path) -> None:
    with serving(tmp_path, request_deadline_s=0.5) as served:
        served.engine.hold()
        served.chat(stream=True)
        figures = samples(served)
        spent = figures[
            "errata_request_seconds_sum", f"replica={served.replica.id}", "route=/v1/chat/completions"
        ]
        assert spent >= 0.4
