"""The command line: explains itself, keeps keys, and says in one line what went wrong and what to do."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from command_line import Errata, command_line, complaint, document
from fake_engine import SETUP
from records import adapter_row, correction, response, running
from served import Served, listening, serving, wait_until
from typer.testing import CliRunner

from align.state import Store, Terms
from serve import cli
from serve.cli.server import read_settings, told
from serve.engine.protocol import EngineSetup
from serve.launch import engine_setup
from serve.settings import Settings


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


def test_up_says_how_its_engines_run() -> None:
    setup = EngineSetup("cuda:0", "bfloat16", "sdpa", 8, 32, 4096, 3 * 2**30, 6, 32)
    assert told(setup) == (
        "cuda:0, bfloat16, sdpa attention, 8 thread(s); 32 answers at once of up to 4096 tokens, prompt included, "
        "in 3072 MiB of keys and values; 6 adapters of up to rank 32"
    )


def test_how_engines_run_is_asked_of_the_server(tmp_path: Path) -> None:
    with serving(tmp_path) as served, listening(served) as address:
        settings = Settings(port=int(address.rpartition(":")[2].partition("/")[0]))
        assert engine_setup(settings) == SETUP


def test_a_server_whose_replica_has_died_since_the_start_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Any] = [
        httpx.ReadTimeout("timed out"),
        httpx.Response(503, text="the replica that worked on this has ended"),
        httpx.Response(200, json={"status": "ready", "engine": asdict(SETUP)}),
    ]
    monkeypatch.setattr(httpx, "get", Mock(side_effect=answers))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    assert engine_setup(Settings()) == SETUP


# --- keys


def test_a_key_is_made_shown_once_listed_and_revoked(errata: Errata, tmp_path: Path) -> None:
    status, out, _ = errata("keys", "create", "--name", "ada [bold]", "--scope", "chat", "--state", tmp_path)
    assert status == 0
    key_id, secret = re.findall(r"^(key-\w+)  chat\n(sk-errata-\S+)$", out, re.M)[0]
    store = Store(Settings(state=tmp_path).database_url)
    found = store.keys.find(secret)
    assert found is not None
    assert (found.id, found.name, found.scopes) == (key_id, "ada [bold]", ["chat"])
    _, listed, _ = errata("keys", "list", "--state", tmp_path)
    assert key_id in listed
    assert "ada [bold]" in listed
    assert secret not in listed
    assert errata("keys", "revoke", key_id, "--state", tmp_path)[0] == 0
    assert store.keys.find(secret) is None
    store.close()
    assert key_id not in errata("keys", "list", "--state", tmp_path)[1]


def test_the_tokens_that_browsers_hold_are_revoked_together(errata: Errata, tmp_path: Path) -> None:
    store = Store(Settings(state=tmp_path).database_url)
    before = store.secrets.get("feedback_token")
    assert errata("keys", "revoke-tokens", "--state", tmp_path)[0] == 0
    assert store.secrets.get("feedback_token") != before
    store.close()


def test_a_key_may_chat_and_correct_unless_told_otherwise(errata: Errata, tmp_path: Path) -> None:
    assert "chat, feedback\n" in errata("keys", "create", "--state", tmp_path)[1]


def test_a_key_may_be_made_with_limits(errata: Errata, tmp_path: Path) -> None:
    limits = ("--requests-per-minute", "60", "--max-concurrent", "4")
    assert errata("keys", "create", *limits, "--state", tmp_path)[0] == 0
    listed = errata("keys", "list", "--state", tmp_path)[1]
    assert "60 a minute" in listed
    assert "4 at once" in listed
    assert errata("keys", "create", "--max-concurrent", "0", "--state", tmp_path)[0] != 0


def test_an_unknown_scope_is_refused(errata: Errata, tmp_path: Path) -> None:
    answer = errata("keys", "create", "--scope", "root", "--state", tmp_path)
    assert complaint(answer) == "unknown scope root; choose from chat, feedback, authors, admin"


def test_an_unknown_key_cannot_be_revoked(errata: Errata, tmp_path: Path) -> None:
    errata("keys", "create", "--state", tmp_path)
    answer = errata("keys", "revoke", "key-9", "--state", tmp_path)
    assert complaint(answer) == "no key 'key-9'; `errata keys list` shows them"


@pytest.mark.parametrize("words", [("list",), ("revoke", "key-9")])
def test_a_mistyped_folder_does_not_look_like_a_server_without_keys(
    errata: Errata, tmp_path: Path, words: tuple[str, ...]
) -> None:
    answer = errata("keys", *words, "--state", tmp_path / "typo")
    assert "there is no server's state in" in complaint(answer)
    assert not (tmp_path / "typo").exists()


# --- up


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "cannot read"),
        ("{", "cannot read"),
        ("[1]", "must hold one JSON object"),
        ('{"alignment": 3}', "must hold one JSON object"),
        ('{"prot": 1}', "setting prot: Extra inputs are not permitted"),
        ('{"rollout": {"poll_s": 0}}', "setting rollout.poll_s: Input should be greater than 0"),
    ],
)
def test_a_config_that_cannot_be_read_is_one_line(
    errata: Errata, tmp_path: Path, config: str | None, message: str
) -> None:
    path = tmp_path / "settings.json"
    if config is not None:
        path.write_text(config)
    assert message in complaint(errata("up", "--config", path, "--state", tmp_path))


def test_up_without_its_model_is_one_line(errata: Errata, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answer = errata("up", "--model", tmp_path / "[red]no", "--state", tmp_path, "--port", port)
    assert complaint(answer).startswith(f"cannot read the model '{tmp_path}/[red]no'")


def test_up_beyond_loopback_without_a_key_is_one_line(errata: Errata, tmp_path: Path) -> None:
    answer = errata("up", "--host", "0.0.0.0", "--state", tmp_path)
    assert "make one with `errata keys create --state" in complaint(answer)


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(
        json.dumps({"port": 1, "num_replicas": 3, "alignment": {"min_corrections": 5, "poll_s": 9}})
    )
    settings = read_settings(path, {"port": 2, "host": None}, 7)
    assert (settings.port, settings.num_replicas) == (2, 3)
    assert (settings.alignment.min_corrections, settings.alignment.poll_s) == (7, 9)


# --- commands that ask a server


@pytest.mark.parametrize("words", [("align",), ("adapters", "list"), ("erase", "source", "k", "--yes")])
def test_without_a_server_the_command_says_how_to_start_one(errata: Errata, words: tuple[str, ...]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        answer = errata(*words, "--url", f"{url}/v1")
    assert complaint(answer, 3).startswith(f"no server answers at {url}/: start one with `errata up`, or")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


def test_adapters_are_listed_shown_promoted_and_rolled_back(errata: Errata, served: Served) -> None:
    adapter_row(served.store, status="refused", digest="0123456789abcdef", report={"gate": {"num_items": 3}})
    with listening(served) as address:
        url = ("--url", f"{address}/v1")
        _, listed, _ = errata("adapters", "list", *url)
        assert re.search(r"v0001 .* refused .* 0123456789ab ", listed)
        assert "The base model is live." in listed
        assert document(errata("adapters", "show", "v1", "--json", *url))["report"] == {
            "gate": {"num_items": 3}
        }
        refused = errata("adapters", "promote", "v1", *url)
        assert complaint(refused) == "v0001 is refused; only an admitted adapter may serve"
        assert errata("adapters", "retire", "v1", *url)[1].endswith("v0001 is retired\n")
        assert "generation 1: base, preparing" in errata("adapters", "promote", "base", *url)[1]
        wait_until(lambda: served.store.rollouts.in_force().generation == 1)
        adapter_row(served.store)
        _, promoted, _ = errata("adapters", "promote", "v2", "--share", "0.001", *url)
        assert "generation 2: base, v0002 for 0.1% of the people, preparing" in promoted
        assert "no adapter 'v9'" in complaint(errata("adapters", "show", "v9", *url))


def test_a_candidate_is_listed_with_what_speaks_against_it(errata: Errata, served: Served) -> None:
    adapter_row(served.store)
    terms = Terms(alpha=0.01, settled_s=0.0, num_answers=500)
    served.store.rollouts.commit(
        served.store.rollouts.propose("base", "v0001", 0.1, terms=terms).generation, 0.0
    )
    for number in range(50):
        adapter = "base" if number < 45 else "v0001"
        served.store.responses.add(response(f"r{number}", adapter=adapter, generation=1))
    served.store.corrections.add(correction("c", response_id="r49", created=1.0))
    with listening(served) as address:
        _, listed, _ = errata("adapters", "list", "--url", f"{address}/v1")
    assert "(candidate)" in listed
    assert "A candidate beside the live version: 5 of 500 answers" in re.sub(r"\s+", " ", listed)
    cells = [re.sub(r"[│┃\s]+", " ", line) for line in listed.splitlines()]
    table = " ".join(cells[next(n for n, line in enumerate(cells) if "evidence" in line) :])
    for figure in ("200.0 (1 of", "0.0 (0 of", " 1 of 200"):
        assert figure in table, table


def test_a_held_version_is_read_about_and_admitted(
    errata: Errata, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter = adapter_row(served.store, status="held")
    report = tmp_path / "report"
    report.mkdir()
    (report / "report.html").write_text("<h1>Held for review: größer?</h1>", encoding="utf-8")
    served.replica.blobs.put_folder(report, f"reports/{adapter.run_id}")
    with listening(served) as address:
        url = ("--url", f"{address}/v1")
        assert "Wrote v0001.html." in errata("adapters", "report", "v1", *url)[1]
        assert Path("v0001.html").read_text(encoding="utf-8") == "<h1>Held for review: größer?</h1>"
        assert errata("adapters", "report", "v1", "--output", "page.html", *url)[0] == 0
        assert Path("page.html").exists()
        assert "v0001 is admitted" in errata("adapters", "admit", "v1", *url)[1]
        assert complaint(errata("adapters", "admit", "v1", *url)).startswith(
            "v0001 is admitted; only one that"
        )


def test_a_response_a_correction_or_a_source_is_erased(errata: Errata, served: Served) -> None:
    key, secret = served.store.keys.create("ada", ["admin"])
    chat = {"headers": {"Authorization": f"Bearer {secret}"}}
    responses = [served.respond(**chat) for _ in range(3)]
    for name, response_id in zip(("c0", "c1", "c2"), responses, strict=True):
        served.store.corrections.add(correction(name, response_id=response_id))
    run_id = running(served.store)
    served.store.runs.update(
        served.store.runs.get(run_id), manifest={"train": ["c0"], "held_out": [], "general": []}
    )
    adapter_row(served.store, run_id=run_id)
    with listening(served) as address:
        asked = ("--yes", "--url", f"{address}/v1", "--key", secret)
        status, out, _ = errata("erase", "correction", "c0", *asked)
        (waiting,) = [run for run in served.store.runs.recent() if run.status == "requested"]
        assert status == 0
        assert "erased: 0 response(s), 1 correction(s)\ntainted: v0001\n" in out
        assert f"run {waiting.id} without" in out.replace("\n", " ")
        _, out, _ = errata("erase", "response", responses[1], *asked)
        assert out.endswith("erased: 1 response(s), 1 correction(s)\n")
        _, out, _ = errata("erase", "source", key.id, *asked)
        assert "erased: 3 response(s), 3 correction(s)" in out
        assert "no response 'r9'" in complaint(errata("erase", "response", "r9", *asked))
    assert all(served.store.responses.get(response_id).is_erased for response_id in responses)


def test_nothing_is_erased_without_a_yes(served: Served) -> None:
    response_id = served.respond()
    with listening(served) as address:
        words = ["erase", "response", response_id, "--url", f"{address}/v1"]
        refused = CliRunner().invoke(cli.app, words, input="n\n")
        assert (refused.exit_code, "for good? [y/N]" in refused.output) == (1, True)
        assert not served.store.responses.get(response_id).is_erased
        assert CliRunner().invoke(cli.app, words, input="y\n").exit_code == 0
    assert served.store.responses.get(response_id).is_erased


def test_an_adapter_tells_its_whole_story(errata: Errata, served: Served) -> None:
    for name in ("r0", "r1"):
        served.store.responses.add(response(name, adapter="v0001"))
        served.store.corrections.add(correction(f"of {name}", response_id=name))
    run_id = running(served.store)
    manifest = {"base": "the/base", "base_digest": "ba5e", "code_version": "0.1.0+c0de", "seed": 7}
    items = {"train": ["of r0"], "held_out": ["of r1"], "general": [], "live": "base"}
    served.store.runs.update(served.store.runs.get(run_id), manifest={**manifest, **items})
    adapter_row(served.store, run_id=run_id, digest="f00d", reason="admitted: [both] bounds hold")
    served.store.rollouts.propose("v0001")
    served.store.erasures.correction("of r1")
    with listening(served) as address:
        _, shown, _ = errata("adapters", "show", "v1", "--url", f"{address}/v1")
    story = dict(re.findall(r"^(\w+(?: \w+)?) {2,}(\S.*?) *$", shown, re.M))
    assert story["version"].startswith("v0001, admitted, tainted since 20")
    assert story["run"].startswith(run_id)
    assert (story["learned from"], story["judged by"]) == ("1 corrections", "1 corrections, 0 answers")
    assert (story["base"], story["code"], story["seed"]) == ("the/base ba5e", "0.1.0+c0de", "7")
    assert (story["digest"], story["verdict"]) == ("f00d", "admitted: [both] bounds hold")
    assert (story["erased since"], story["answers given"]) == ("of r1", "2")
    assert re.search(r"1 .* v0001 .* aband", shown)


def test_a_correction_shows_its_words_and_the_adapters_that_learned_from_it(
    errata: Errata, served: Served
) -> None:
    served.store.responses.add(response("r1"))
    served.store.corrections.add(correction("c1"))
    with listening(served) as address:
        url = ("--url", f"{address}/v1")
        _, shown, _ = errata("corrections", "show", "c1", *url)
        assert "c1 accepted, 1970-01-01 00:00:02 UTC\nof r1, an answer of base\n" in shown
        assert "  attribute: 'red' -> 'blue'\nno adapter has seen it\n" in shown
        run_id = running(served.store)
        served.store.runs.update(served.store.runs.get(run_id), manifest={"train": ["c1"]})
        adapter_row(served.store, run_id=run_id)
        _, shown, _ = errata("corrections", "show", "c1", *url)
        assert re.search(r"v0001 .* learned from it .* admitted ", shown)
        assert (
            document(errata("corrections", "show", "c1", "--json", *url))["used_by"][0]["version"] == "v0001"
        )
        assert "no correction 'c9'" in complaint(errata("corrections", "show", "c9", *url))


def test_a_run_is_asked_for(errata: Errata, served: Served) -> None:
    with listening(served) as address:
        status, out, _ = errata("align", "--no-wait", "--url", f"{address}/v1")
    (asked,) = served.store.runs.recent()
    assert (status, out.strip()) == (0, f"run {asked.id}: requested")


def test_a_server_with_keys_asks_for_one(errata: Errata, served: Served) -> None:
    _, secret = served.store.keys.create("ada", ["admin"])
    with listening(served) as address:
        url = ("--url", f"{address}/v1")
        assert complaint(errata("adapters", "list", *url)).endswith("; set ERRATA_API_KEY or --key")
        assert errata("adapters", "list", *url, "--key", secret)[0] == 0


def test_runs_are_listed_shown_and_cancelled(errata: Errata, served: Served) -> None:
    with listening(served) as address:
        url = ("--url", f"{address}/v1")
        assert "There was no run yet." in errata("alignments", "list", *url)[1]
        run = served.store.runs.request("request")
        assert f"{run.id} requested, by request, 0 corrections, " in errata("alignments", "list", *url)[1]
        assert errata("alignments", "cancel", run.id, *url)[1].endswith(f"{run.id} is cancelled\n")
        _, listed, _ = errata("alignments", "list", *url)
        assert re.search(rf"{run.id} cancelled, .*\n  cancelled on request\n", listed)
        assert f"{run.id} cancelled, by request, from 20" in errata("alignments", "show", run.id, *url)[1]
        assert document(errata("alignments", "show", run.id, "--json", *url))["status"] == "cancelled"
        assert "is cancelled" in complaint(errata("alignments", "cancel", run.id, *url))


def test_corrections_are_listed_by_what_is_asked_for(errata: Errata, served: Served) -> None:
    served.store.responses.add(response("r1"))
    for number in range(3):
        author = "[ada]" if number else None
        served.store.corrections.add(correction(f"c{number}", author=author))
    with listening(served) as address:
        words = ("corrections", "list", "--url", f"{address}/v1")
        _, listed, _ = errata(*words, "--author", "[ada]", "--adapter", "base", "--response", "r1")
        assert re.findall(r"^(c\d) accepted by \[ada\], ", listed, re.M) == ["c2", "c1"]
        assert listed.count("attribute: 'red' -> 'blue'") == 2
        listed = document(errata(*words, "--limit", 2, "--json"))
        assert [one["id"] for one in listed["data"]] == ["c2", "c1"]
        assert "There is no such correction." in errata(*words, "--status", "rejected")[1]
        assert "status" in complaint(errata(*words, "--status", "good"))


def test_corrections_in_quarantine_are_listed_and_settled(errata: Errata, served: Served) -> None:
    for number in range(3):
        served.store.responses.add(response(f"r{number}"))
        held = correction(
            f"c{number}",
            response_id=f"r{number}",
            status="quarantined",
            reason="repeated_insertion",
            questioned=["[blue] cup"],
        )
        served.store.corrections.add(held)
    with listening(served) as address:
        review, url = ("corrections", "review"), ("--url", f"{address}/v1")
        _, listed, _ = errata(*review, *url)
        assert re.search(r"c0 from anonymous, .*\n  repeated_insertion: the same words", listed)
        assert "in question: [blue] cup" in listed
        assert "attribute: 'red' -> 'blue'" in listed
        assert "3 in quarantine" in listed
        released = errata(*review, "c0", "c1", "--release", *url)[1]  # beside the log of the server in here
        assert re.findall(r"^c\d: .*", released, re.M) == ["c0: accepted", "c1: accepted"]
        assert errata(*review, "c2", "--reject", *url)[1].endswith("c2: rejected\n")
        assert "c2 is rejected" in complaint(errata(*review, "c2", "--release", *url))
        assert "No correction waits for a reviewer." in errata(*review, *url)[1]
        assert "c2 rejected (repeated_insertion)" in errata("corrections", "show", "c2", *url)[1]


@pytest.mark.parametrize(
    "words", [("c1",), ("--release",), ("--release", "--reject"), ("c1", "--release", "--reject")]
)
def test_a_review_without_its_decision_is_refused_before_a_server_is_asked(
    errata: Errata, words: tuple[str, ...]
) -> None:
    status, _, err = errata("corrections", "review", *words)
    assert status == 2
    assert "one of --release and --reject" in re.sub(r"[\s│]+", " ", err)
