"""Who may do what: open on loopback until a key is made, then by key and scope; nothing is read from a stranger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records import response
from served import Served, body, error, serving, wait_until

from align.state import Key
from serve.api.auth import person_of
from serve.api.door import ANONYMOUS, Gatekeeper, Headers
from serve.errors import Unauthenticated

GUARDED = [
    ("POST", "/v1/chat/completions", "chat"),
    ("GET", "/v1/models", "chat"),
    ("GET", "/v1/models/errata-scenes", "chat"),
    ("GET", "/v1/responses", "chat feedback"),
    ("GET", "/v1/responses/chatcmpl-9", "chat feedback"),
    ("GET", "/v1/responses/chatcmpl-9/images/f00d", "chat feedback"),
    ("POST", "/v1/responses/chatcmpl-9/link", "chat feedback"),
    ("POST", "/v1/queue/claims", "chat feedback"),
    ("DELETE", "/v1/queue/claims/chatcmpl-9", "chat feedback"),
    ("GET", "/v1/statistics", "chat"),
    ("DELETE", "/v1/responses/chatcmpl-9", "chat"),
    ("GET", "/v1/adapters", "chat"),
    ("GET", "/v1/adapters/v9", "chat"),
    ("GET", "/v1/adapters/comparison", "chat"),
    ("GET", "/v1/alignments", "chat"),
    ("GET", "/v1/alignments/run-9", "chat"),
    ("GET", "/v1/alignments/run-9/report", "chat"),
    ("POST", "/v1/feedback", "feedback"),
    ("POST", "/feedback", "feedback"),
    ("GET", "/v1/feedback", "feedback"),
    ("GET", "/feedback", "feedback"),
    ("GET", "/v1/feedback/export", "admin"),
    ("GET", "/feedback/export", "admin"),
    ("GET", "/v1/feedback/corr-9", "feedback"),
    ("GET", "/feedback/corr-9", "feedback"),
    ("DELETE", "/v1/chat/completions/chatcmpl-9", "chat"),
    ("DELETE", "/v1/feedback/corr-9", "feedback"),
    ("DELETE", "/feedback/corr-9", "feedback"),
    ("DELETE", "/v1/sources/key-9", "admin"),
    ("GET", "/v1/reviews", "admin"),
    ("POST", "/v1/reviews/corr-9", "admin"),
    ("POST", "/v1/adapters/rollback", "admin"),
    ("POST", "/v1/adapters/v9/admit", "admin"),
    ("POST", "/v1/adapters/v9/retire", "admin"),
    ("POST", "/v1/adapters/v9/promote", "admin"),
    ("POST", "/v1/alignments", "admin"),
    ("POST", "/v1/alignments/run-9/cancel", "admin"),
]
OPEN = ["/healthz", "/readyz", "/metrics", "/metrics/targets"]
PAGES = ["/openapi.json", "/docs", "/docs/assets/swagger-ui.css"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, dict[str, str]]]:
    """A server with keys, and the secret of one key for each scope."""
    with serving(tmp_path_factory.mktemp("state")) as served:
        yield (
            served,
            {scope: served.store.keys.create(scope, [scope])[1] for scope in ("chat", "feedback", "admin")},
        )


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_every_route_is_guarded_or_open_by_intent(served: Served) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    known = {(method, path) for method, path, _ in GUARDED} | {("GET", path) for path in OPEN}

    def shape(path: str) -> tuple[str, ...]:
        values = {
            "v9": "{version}",
            "corr-9": "{correction_id}",
            "chatcmpl-9": "{response_id}",
            "key-9": "{source_id}",
            "run-9": "{run_id}",
            "errata-scenes": "{model_id}",
            "f00d": "{sha256}",
        }
        return tuple(values.get(part, part) for part in path.split("/"))

    assert {(method, shape(path)) for method, path in known} == {
        (method, tuple(path.split("/"))) for method, path in routes
    }


def test_without_keys_loopback_is_open(served: Served) -> None:
    assert served.chat().status_code == 200
    assert served.client.post("/v1/alignments").status_code == 202


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "example.com", "::"])
def test_without_keys_no_other_host_is_open(tmp_path: Path, host: str) -> None:
    with serving(tmp_path, host=host) as served:
        detail = error(served.chat(), 401)
        assert detail["type"] == "authentication_error"
        assert "`errata keys create` makes one" in detail["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8000"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Origin": "http://[::1"},
    ],
)
def test_an_open_server_does_not_answer_web_pages_of_others(served: Served, headers: dict[str, str]) -> None:
    answer = served.client.post("/v1/adapters/rollback", headers=headers)
    assert "answers its own machine only" in error(answer, 401)["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:8000"},
        {"Host": "[::1]:8000"},
        {"Host": "127.0.0.1"},
        {"Origin": "http://localhost:3000"},
    ],
)
def test_an_open_server_answers_pages_of_its_own_machine(served: Served, headers: dict[str, str]) -> None:
    assert served.client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
def test_each_route_asks_for_its_scope(
    locked: tuple[Served, dict[str, str]], method: str, path: str, scope: str
) -> None:
    served, secrets = locked

    def status(secret: str) -> int:
        return int(served.client.request(method, path, headers=bearer(secret), json={"x": 1}).status_code)

    for name in ("chat", "feedback"):
        if name in scope.split():
            assert status(secrets[name]) not in (401, 403)
        else:
            assert status(secrets[name]) == 403
    assert status(secrets["admin"]) not in (401, 403)


@pytest.mark.parametrize(("method", "path", "_scope"), GUARDED)
@pytest.mark.parametrize(
    "headers",
    [{}, bearer("sk-errata-wrong"), bearer(""), {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}],
)
def test_strangers_are_told_nothing(
    locked: tuple[Served, dict[str, str]], method: str, path: str, _scope: str, headers: dict[str, str]
) -> None:
    served, _ = locked
    answer = served.client.request(method, path, headers=headers, content=b'{"broken')
    error(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_strangers_body_is_not_read(
    locked: tuple[Served, dict[str, str]],
) -> None:
    served, secrets = locked

    def body_of_a_stranger() -> Iterator[bytes]:
        read.append(1)
        yield b"{}"

    def send(secret: str) -> Any:
        headers = {**bearer(secret), "Content-Type": "application/json"}
        return served.client.post("/v1/chat/completions", content=body_of_a_stranger(), headers=headers)

    read: list[int] = []
    error(send("sk-errata-wrong"), 401)
    assert read == []
    error(send(secrets["chat"]), 400)
    assert read == [1]


@pytest.mark.parametrize("path", OPEN + PAGES)
def test_health_figures_and_documentation_are_open(locked: tuple[Served, dict[str, str]], path: str) -> None:
    assert locked[0].client.get(path).status_code == 200


def test_the_scope_that_is_missing_is_named(locked: tuple[Served, dict[str, str]]) -> None:
    served, secrets = locked
    answer = served.client.post("/v1/alignments", headers=bearer(secrets["chat"]))
    detail = error(answer, 403)
    assert detail["message"] == "this key has the scopes chat; this needs admin"
    assert detail["type"] == "permission_error"


def test_a_revoked_key_is_refused_within_seconds_and_the_server_stays_closed(served: Served) -> None:
    key, secret = served.store.keys.create("ada", ["chat"])
    wait_until(lambda: served.client.get("/v1/models").status_code == 401)
    assert served.client.get("/v1/models", headers=bearer(secret)).status_code == 200
    served.store.keys.revoke(key.id)
    wait_until(lambda: served.client.get("/v1/models", headers=bearer(secret)).status_code == 401, 5.0)
    error(served.client.get("/v1/models"), 401)


def test_what_is_remembered_of_keys_does_not_grow_with_wrong_ones(served: Served) -> None:
    gatekeeper = Gatekeeper(served.store, is_loopback=True)
    _, secret = served.store.keys.create("ada", ["chat"])

    async def try_them() -> None:
        for wrong in range(20):
            with pytest.raises(Unauthenticated):
                await gatekeeper.identify(Headers(bearer(f"sk-errata-{wrong}")))
        await gatekeeper.identify(Headers(bearer(secret)))

    import asyncio

    asyncio.run(try_them())
    assert list(gatekeeper._found) == [secret]


def test_another_keys_response_is_not_mine_to_correct(locked: tuple[Served, dict[str, str]]) -> None:
    served, secrets = locked
    owner, secret = served.store.keys.create("owner", ["chat", "feedback"])
    asked = served.client.post("/v1/chat/completions", json=body(), headers=bearer(secret)).json()["id"]
    assert served.store.responses.get(asked).key_id == owner.id

    def correct(by: str) -> Any:
        return served.client.post(
            "/v1/feedback", json={"response_id": asked, "spans": []}, headers=bearer(by)
        )

    error(correct(secrets["feedback"]), 403)
    mine = correct(secret)
    assert mine.status_code == 201
    error(served.client.get(f"/feedback/{mine.json()['id']}", headers=bearer(secrets["feedback"])), 403)
    assert correct(secrets["admin"]).status_code == 201


def test_the_same_idempotency_key_of_two_callers_makes_two_records(
    locked: tuple[Served, dict[str, str]],
) -> None:
    served, secrets = locked
    served.store.responses.add(response("shared", key_id="someone"))
    _, other = served.store.keys.create("other admin", ["admin"])
    ids = {
        served.client.post(
            "/v1/feedback",
            json={"response_id": "shared", "spans": []},
            headers={**bearer(secret), "Idempotency-Key": "k"},
        ).json()["id"]
        for secret in (secrets["admin"], other)
    }
    assert len(ids) == 2


def test_a_person_is_who_the_application_names_else_who_holds_the_key() -> None:
    ada, bob = (Key(f"key-{name}", 0.0, name, "", ["chat"]) for name in ("ada", "bob"))
    assert person_of(ada, "u1", "r1") == person_of(ada, "u1", "r2")
    assert person_of(ada, None, "r1") == person_of(ada, None, "r2")
    people = {person_of(key, user, "r1") for key in (ada, bob) for user in ("u1", "u2", None)}
    assert len(people) == 6, "the same name under two keys is two people"
    assert person_of(ANONYMOUS, None, "r1") != person_of(ANONYMOUS, None, "r2")
