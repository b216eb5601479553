"""The board: each query of each panel is asked of a real Prometheus that watches a real server, and has an answer.

And the page has the same panels, of the same figures; `test_web_board.py` looks at them.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus import PROMETHEUS, needs_prometheus
from records import adapter_row, correction
from served import Served, on_a_port, promote, publish, serving, wait_until

from deploy.grafana.board import FILE, FOR_THE_PAGE, board, page_text, text
from deploy.grafana.panels import ROWS
from docs.generators.metrics import metrics

RULES = Path(__file__).parent.parent / "deploy" / "prometheus"
BOARD = json.loads(FILE.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


class Watched:
    """A Prometheus that has scraped a server."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=10)

    def ask(self, query: str) -> list[Any]:
        answer = self._client.get("/query", params={"query": as_grafana_asks(query)}).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        found: list[Any] = answer["data"]["result"]
        return [one for one in found if one["value"][1] != "NaN"]

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def is_up(self) -> bool:
        try:
            answer = self._client.get("/query", params={"query": "up == 1"})
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and bool(answer.json()["data"]["result"])

    def close(self) -> None:
        self._client.close()


def as_grafana_asks(query: str) -> str:
    for variable, value in (("$job", "errata"), ("$__rate_interval", "1m"), ("$__interval", "1m")):
        query = query.replace(variable, value)
    return query


@contextmanager
def watching(server: str, folder: Path) -> Iterator[Watched]:
    """By the configuration of the repository, fifteen times as fast."""
    config = yaml.safe_load((RULES / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [server.removeprefix("http://")]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    assert PROMETHEUS is not None
    command = [PROMETHEUS, "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], cwd=folder, stdout=log, stderr=log
        )
    watched = Watched(f"http://{address}")
    try:
        wait_until(watched.is_up)
        yield watched
    finally:
        watched.close()
        process.terminate()
        process.wait()


def use(served: Served) -> None:
    """Answers, one that fails, corrections of several fates, and a request that is wrong."""
    answers = [served.respond() for _ in range(5)]
    served.chat(model="nobody")
    for answer, corrected in ((answers[0], "Something else."), (answers[1], "Nothing at all.")):
        sent = {"response_id": answer, "corrected_text": corrected}
        assert served.client.post("/v1/feedback", json=sent).status_code < 300
    held = correction(f"c-{answers[2]}", response_id=answers[2], status="quarantined", reason="burst")
    served.store.corrections.add(held)
    served.engine.error_after = 1
    served.chat()
    served.engine.error_after = None


def learn(served: Served) -> None:
    """A run under way as the aligner writes it down, and one that the gate has judged."""
    change = {"low": 0.1, "estimate": 0.4, "high": 0.6}
    gate = {"seconds": 7.0, "comparisons": {"held_out.margin": {"change": change}}}
    report = {"training": {"seconds": 5.0}, "gate": gate}
    adapter_row(served.store, "refused", run_id=begin(served), report=report)
    progress: dict[str, float] = {"step": 3, "num_steps": 9}
    names = ("loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/chosen_change")
    under_way = served.store.runs.get(begin(served))
    served.store.runs.update(under_way, progress={**progress, **dict.fromkeys(names, 0.5)})


def begin(served: Served) -> str:
    served.store.runs.request("request")
    run = served.store.runs.claim()
    assert run is not None
    return run.id


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if PROMETHEUS is None:
        pytest.skip("no Prometheus")
    folder = tmp_path_factory.mktemp("board")
    with serving(folder / "state") as served, on_a_port(served.replica) as server:
        publish(served, folder)
        with watching(server, folder) as watched:
            use(served)
            wait_until(
                lambda: watched.ask("errata_responses_total")
            )  # a rate needs a look before and one after
            time.sleep(2.0)
            use(served)
            learn(served)
            promote(served, "v1")
            use(served)
            wait_until(lambda: watched.ask('errata_responses_total{adapter="v0001"}'))
            time.sleep(2.0)  # for the rules
            yield watched


@needs_prometheus
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_query_of_a_panel_has_an_answer(watched: Watched, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        wait_until(lambda query=target["expr"]: watched.ask(query))  # a scrape may fail on a busy machine


@needs_prometheus
def test_a_switch_is_marked_on_the_board(watched: Watched) -> None:
    (annotation,) = BOARD["annotations"]["list"]
    assert watched.ask(annotation["expr"])


@needs_prometheus
def test_prometheus_finds_every_metric_that_the_reference_names(watched: Watched) -> None:
    found = {one["metric"]["__name__"] for one in watched.ask('{__name__=~"errata_.+"}')}
    assert {name for name, *_ in metrics()} - {name.removesuffix("_count") for name in found} == set()


@needs_prometheus
def test_every_rule_can_be_evaluated(watched: Watched) -> None:
    rules = watched.rules()
    assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]


def test_the_file_is_what_its_panels_say() -> None:
    assert FILE.read_text() == text(), "run `python -m deploy.grafana.board`"
    assert [panel["title"] for panel in board()["panels"] if panel["type"] == "row"] == list(ROWS)


def test_the_page_has_the_same_panels_in_the_same_rows() -> None:
    assert FOR_THE_PAGE.read_text() == page_text(), "run `python -m deploy.grafana.board`"
    rows: dict[str, list[str]] = {}
    for panel in BOARD["panels"]:
        if panel["type"] == "row":
            row = rows[panel["title"]] = []
        else:
            row.append(panel["title"])
    assert {row["title"]: [panel["title"] for panel in row["panels"]] for row in of_the_page()} == rows


def test_a_panel_of_the_page_is_computed_from_the_figures_that_its_query_asks_for() -> None:
    asked = {panel["title"]: [asked_for(target["expr"]) for target in panel["targets"]] for panel in PANELS}
    computed = {
        panel["title"]: [computed_from(query) for query in panel["queries"]]
        for row in of_the_page()
        for panel in row["panels"]
    }
    assert computed == asked


def of_the_page() -> list[dict[str, Any]]:
    (said,) = re.findall(r"export const ROWS = (.*?);\n\nexport", FOR_THE_PAGE.read_text(), re.S)
    rows: list[dict[str, Any]] = json.loads(re.sub(r",(\s*[\]}])", r"\1", said))
    return rows


def computed_from(query: dict[str, Any]) -> set[str]:
    parts = [query[name] for name in ("of", "part", "whole") if name in query]
    return set(query.get("metrics", ())).union(*(computed_from(part) for part in parts))


def asked_for(expression: str) -> set[str]:
    """The metrics behind a query, those of recording rules included."""
    names = set(re.findall(r"\berrata_\w+", re.sub(r"__name__=~\S+?\"}", "", expression)))
    for pattern in re.findall(r'__name__=~"(\S+?)"', expression):
        names |= {name for name, *_ in metrics() if re.fullmatch(pattern, name)}
    groups = yaml.safe_load((RULES / "recording.yaml").read_text())["groups"]
    rules = {rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}
    recorded = set(re.findall(r"\berrata:[\w:]+", expression))
    return names.union(*(asked_for(rules[name]) for name in recorded))


def test_each_query_asks_for_figures_that_there_are_of_the_chosen_server_alone() -> None:
    recorded = set(re.findall(r"record: (\S+)", (RULES / "recording.yaml").read_text()))
    there = {name for name, *_ in metrics()} | recorded
    for query in queries():
        asked = re.findall(r"\b(errata[_:][\w:]+)(\{?)", query)
        assert asked
        for name, brace in asked:
            assert name.removesuffix("_bucket") in there
            assert brace, f"{query} is of all servers"
        assert query.count('job="$job"') == len(asked)
