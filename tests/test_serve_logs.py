"""The log: one line a request, which tells who asked, what answered and how long it took, and no word that was said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, serving

SECRET = "the-word-that-nobody-may-read"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def requests(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [line for line in lines(capsys) if line["event"] == "request"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_leaves_one_line_with_all_that_it_can_be_found_by(
    served: Served, capsys: pytest.CaptureFixture[str], stream: bool
) -> None:
    answer = served.chat(SECRET, stream=stream)
    (line,) = requests(capsys)
    assert line["request"] == answer.headers["x-request-id"]
    assert line["response"] == answer.headers["x-errata-response-id"]
    assert (line["adapter"], line["key"], line["status"]) == ("base", "anonymous", 200)
    assert (line["method"], line["route"]) == ("POST", "/v1/chat/completions")
    assert 0 < line["first_byte_s"] <= line["total_s"]
    assert SECRET not in json.dumps(line)


def test_a_request_can_be_found_by_the_name_that_its_client_gave_it(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = served.chat(headers={"x-request-id": "web-7:a.b_c"})
    (line,) = requests(capsys)
    assert line["client_request"] == "web-7:a.b_c"
    assert line["request"] == answer.headers["x-request-id"] != "web-7:a.b_c"


@pytest.mark.parametrize("name", ["a b", 'x","status":"200', "x" * 129, ""])
def test_a_name_that_may_be_more_than_a_name_is_left_out(
    served: Served, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    served.chat(headers={"x-request-id": name})
    (line,) = requests(capsys)
    assert "client_request" not in line


def test_what_goes_wrong_meanwhile_is_logged_under_the_name_of_its_request(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(served.store.responses, "get", fail)
    answer = served.client.get("/v1/responses/chatcmpl-1")
    assert answer.status_code == 500
    told = lines(capsys)
    assert {line["request"] for line in told} == {answer.headers["x-request-id"]}
    assert any("a defect" in line.get("exception", "") for line in told)
    assert [line["status"] for line in told if line["event"] == "request"] == [500]


def test_a_request_without_a_key_that_is_refused_has_its_line(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.client.get("/v1/models", headers={"authorization": "Bearer sk-errata-guess"})
    served.client.get("/v1/models", headers={"host": "elsewhere.example"})
    last = requests(capsys)[-1]
    assert (last["status"], last["key"]) == (401, None)
    assert "guess" not in json.dumps(last)


def test_probes_are_silent_while_all_is_well(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/metrics/targets"):
        assert served.client.get(path).status_code == 200
    assert requests(capsys) == []
