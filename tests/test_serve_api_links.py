"""A link for one answer: whoever has it corrects that one for a while, and does nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fake_engine import FakeEngine
from records import response
from served import Served, error, serving

TEXT = "A red cup stands here."


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, FakeEngine(answers={"base": TEXT}), feedback_token_s=100.0) as served:
        yield served


@pytest.fixture
def secrets(served: Served) -> dict[str, str]:
    """Of the key that asked, of another one, and of an admin."""
    scopes = {"owner": ["feedback"], "other": ["chat", "feedback"], "boss": ["admin"]}
    made = {name: served.store.keys.create(name, scope) for name, scope in scopes.items()}
    served.store.responses.add(response("r 1/é", key_id=made["owner"][0].id, user="ada", text=TEXT))
    served.store.responses.add(response("r2", key_id=made["owner"][0].id, text=TEXT))
    return {name: secret for name, (_, secret) in made.items()}


def ask(served: Served, method: str, path: str, secret: str, **more: Any) -> Any:
    return served.client.request(method, path, headers={"Authorization": f"Bearer {secret}"}, **more)


def link(served: Served, secret: str, response_id: str = "r 1/é") -> Any:
    return ask(served, "POST", f"/v1/responses/{response_id.replace('/', '%2F')}/link", secret)


def test_a_link_leads_to_the_page_with_a_token_that_no_server_is_sent(
    served: Served, secrets: dict[str, str]
) -> None:
    made = link(served, secrets["owner"], "r2").json()
    assert set(made) == {"object", "response_id", "token", "path", "expires"}
    assert (made["object"], made["response_id"]) == ("response.link", "r2")
    assert 99 < made["expires"] - time.time() < 102
    parts = urlsplit(made["path"])
    assert (parts.path, parts.query) == ("/", "")
    fragment = urlsplit(parts.fragment)
    assert (fragment.path, parse_qs(fragment.query)) == ("/answer/r2", {"token": [made["token"]]})


@pytest.mark.parametrize("asker", ["owner", "boss"])
def test_who_has_a_link_reads_and_corrects_its_answer_and_no_other(
    served: Served, secrets: dict[str, str], asker: str
) -> None:
    token = link(served, secrets[asker], "r2").json()["token"]
    assert ask(served, "GET", "/v1/responses/r2", token).json()["text"] == TEXT
    content = {"response_id": "r2", "spans": [{"start": 2, "end": 5, "replacement": "blue"}]}
    made = ask(served, "POST", "/feedback", token, json=content)
    assert made.status_code == 201, made.text
    assert [one["id"] for one in ask(served, "GET", "/feedback", token).json()["data"]] == [made.json()["id"]]
    stored = served.store.corrections.get(made.json()["id"])
    asked_by = served.store.keys.with_id(stored.key_id)
    assert asked_by is not None
    assert asked_by.name == asker  # it is who gave the link that answers for it
    assert not stored.is_reviewed
    error(ask(served, "GET", "/v1/responses", token), 403)
    error(ask(served, "POST", "/v1/responses/r2/link", token), 403)
    error(ask(served, "POST", "/v1/queue/claims", token, json={"holder": "x"}), 403)
    error(ask(served, "GET", "/v1/statistics", token), 403)
    error(ask(served, "POST", "/feedback", token, json={**content, "response_id": "r 1/é"}), 403)


def test_what_comes_with_a_link_is_the_user_s_whom_the_answer_was_for(
    served: Served, secrets: dict[str, str]
) -> None:
    served.store.responses.add(response("r3", key_id="anonymous", user="ada", text=TEXT))
    served.store.responses.add(response("r4", key_id="anonymous", user="a" * 201, text=TEXT))
    token = link(served, secrets["boss"], "r3").json()["token"]
    made = ask(served, "POST", "/feedback", token, json={"response_id": "r3", "spans": []}).json()
    assert made["author"] == "ada"
    assert link(served, secrets["boss"], "r4").status_code == 200


def test_only_who_may_see_an_answer_gives_a_link_to_it(served: Served, secrets: dict[str, str]) -> None:
    error(link(served, secrets["other"], "r2"), 403)
    error(link(served, secrets["boss"], "r9"), 404)
    served.store.erasures.response("r2")
    error(link(served, secrets["owner"], "r2"), 410)


def test_a_link_ends_with_the_key_that_gave_it(served: Served, secrets: dict[str, str]) -> None:
    tokens = {name: link(served, secrets[name], "r2").json()["token"] for name in ("owner", "boss")}
    owner = served.store.responses.get("r2").key_id
    served.store.keys.revoke(owner)
    error(ask(served, "GET", "/v1/responses/r2", tokens["owner"]), 401)
    assert ask(served, "GET", "/v1/responses/r2", tokens["boss"]).status_code == 200
