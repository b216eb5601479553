"""A token for a browser: it corrects one answer for a while, and does nothing else, whoever tampers with it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from openai import OpenAI
from served import Served, body, error, events, listening, serving, wait_until
from test_serve_api_auth import GUARDED

from align.state import Store
from serve.api.feedback_token import PREFIX, SECRET, FeedbackClaims, read, sign
from serve.errors import Unauthenticated

TEXT = "A red cup stands here."
CLAIMS = FeedbackClaims("chatcmpl-1", "key-1", None, 2**33)


class Browser:
    """An application with a key asks; what it was given is what this has."""

    def __init__(self, served: Served, scopes: tuple[str, ...] = ("chat",), **changes: Any) -> None:
        self.served = served
        self.key, self.secret = served.store.keys.create("application", list(scopes))
        self.response_id, self.token = self.answered(**changes)

    def answered(self, **changes: Any) -> tuple[str, str]:
        answer = self.served.chat(
            feedback_token=True, headers={"Authorization": f"Bearer {self.secret}"}, **changes
        ).json()
        (choice,) = answer["choices"]
        return str(choice["response_id"]), str(choice["feedback_token"])

    def request(self, method: str, path: str, token: str | None = None, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return self.served.client.request(method, path, headers=headers, **more)

    def correct(self, token: str | None = None, **changes: Any) -> Any:
        spans = [{"start": 2, "end": 5, "replacement": "blue"}]
        content = {"response_id": self.response_id, "spans": spans, **changes}
        return self.request("POST", "/feedback", token, json=content)

    def forged(self, **changes: Any) -> str:
        """The token with other claims and its old signature."""
        _, said, signature = self.token.split(".")
        claims = {**json.loads(urlsafe_b64decode(said + "==")), **changes}
        other = urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode().rstrip("=")
        assert other != said
        return f"{PREFIX}{other}.{signature}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, FakeEngine(answers={"base": TEXT})) as served:
        yield served


@pytest.fixture
def browser(served: Served) -> Browser:
    return Browser(served)


def test_a_browser_corrects_its_answer_and_sees_the_correction(browser: Browser) -> None:
    made = browser.correct()
    assert made.status_code == 201, made.text
    assert made.json()["corrected_text"] == "A blue cup stands here."
    assert browser.request("GET", f"/feedback/{made.json()['id']}").json()["status"] == "accepted"
    assert [one["id"] for one in browser.request("GET", "/v1/feedback").json()["data"]] == [made.json()["id"]]
    stored = browser.served.store.corrections.get(made.json()["id"])
    assert (stored.key_id, stored.source) == (browser.key.id, browser.key.id)


def test_an_answer_brings_no_token_unless_it_is_asked_for(browser: Browser) -> None:
    answer = browser.served.chat(headers={"Authorization": f"Bearer {browser.secret}"})
    assert "feedback_token" not in answer.json()["choices"][0]
    assert "x-errata-feedback-token" not in answer.headers


def test_a_stream_brings_its_token_in_the_first_chunk_and_in_a_header(browser: Browser) -> None:
    headers = {"Authorization": f"Bearer {browser.secret}"}
    answer = browser.served.chat(feedback_token=True, stream=True, headers=headers)
    first, *others, _ = [event["choices"][0] for event in events(answer.text)[:-1]]
    assert first["feedback_token"] == answer.headers["x-errata-feedback-token"]
    assert not any("feedback_token" in choice for choice in others)
    browser.response_id = answer.headers["x-errata-response-id"]
    assert browser.correct(first["feedback_token"]).status_code == 201


def test_each_of_several_answers_has_a_token_of_its_own(browser: Browser) -> None:
    headers = {"Authorization": f"Bearer {browser.secret}"}
    answer = browser.served.chat(feedback_token=True, n=2, headers=headers)
    first, second = answer.json()["choices"]
    assert answer.headers["x-errata-feedback-token"] == first["feedback_token"]
    assert browser.correct(second["feedback_token"], response_id=second["response_id"]).status_code == 201
    error(browser.correct(first["feedback_token"], response_id=second["response_id"]), 403)


def test_what_has_no_record_has_no_token(browser: Browser) -> None:
    headers = {"Authorization": f"Bearer {browser.secret}"}
    refused = error(browser.served.chat(feedback_token=True, store=False, headers=headers), 400)
    assert "cannot be corrected" in refused["message"]


def test_openai_s_client_asks_for_a_token_and_a_client_with_it_corrects(browser: Browser) -> None:
    with listening(browser.served) as url:
        with OpenAI(base_url=f"{url}/v1", api_key=browser.secret) as client:
            completion = client.chat.completions.create(**body(), extra_body={"feedback_token": True})
        token = str((completion.choices[0].model_extra or {})["feedback_token"])
        with OpenAI(base_url=f"{url}/v1", api_key=token) as visitor:
            content = {"response_id": completion.id, "spans": []}
            made: Any = visitor.post("/feedback", cast_to=object, body=content)
            assert made["status"] == "nothing_wrong"


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
def test_a_token_opens_no_route_but_those_of_corrections_and_of_its_answer(
    browser: Browser, method: str, path: str, scope: str
) -> None:
    path = path.replace("chatcmpl-9", browser.response_id)
    answer = browser.request(method, path, json={})
    is_its_own_to_read = method == "GET" and browser.response_id in path
    if is_its_own_to_read or (scope == "feedback" and method != "DELETE"):
        assert answer.status_code in (200, 400, 404)
    else:
        message = error(answer, 403)["message"]
        assert message.startswith("this key has the scopes feedback on one response; this needs ")


def test_a_token_neither_corrects_nor_shows_another_answer_of_its_key(browser: Browser) -> None:
    other, its_token = browser.answered()
    made = browser.correct(its_token, response_id=other).json()["id"]
    for answer in (
        browser.correct(response_id=other),
        browser.request("GET", f"/feedback/{made}"),
        browser.request("GET", f"/v1/responses/{other}"),
        browser.request("GET", f"/v1/responses/{other}/images/f00d"),
        browser.request("GET", "/feedback", params={"response_id": other}),
        browser.request("GET", "/feedback", params={"after": made}),
    ):
        assert "for another response" in error(answer, 403)["message"]
    assert browser.request("GET", "/feedback").json()["data"] == []


def test_a_token_shows_what_its_answer_was_to_and_nothing_of_the_application(served: Served) -> None:
    _, secret = served.store.keys.create("application", ["chat"])
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is there?"}]
    headers = {"Authorization": f"Bearer {secret}"}
    answer = served.chat(
        messages=messages, metadata={"case": "7"}, feedback_token=True, headers=headers
    ).json()
    path = f"/v1/responses/{answer['id']}"
    whole = served.client.get(path, headers=headers).json()
    assert (whole["messages"][0]["role"], whole["metadata"]) == ("system", {"case": "7"})
    token = {"Authorization": f"Bearer {answer['choices'][0]['feedback_token']}"}
    shown = served.client.get(path, headers=token).json()
    assert shown == {**whole, "messages": whole["messages"][1:], "metadata": {}}


def test_claims_that_were_altered_are_refused(browser: Browser) -> None:
    other, _ = browser.answered()
    for forged in (
        browser.forged(response_id=other),
        browser.forged(expires=2**33),
        browser.forged(key_id="anonymous"),
        browser.forged(author="ada"),
    ):
        error(browser.correct(forged), 401)
    assert browser.correct().status_code == 201


def test_a_token_that_lacks_or_changes_any_character_is_refused(served: Served) -> None:
    secret = served.store.secrets.get(SECRET)
    token = sign(CLAIMS, secret)
    assert read(token, secret) == CLAIMS
    for index in range(len(PREFIX), len(token)):
        # the next letter has another last bit, which base64 would decode to the same bytes at the end
        letter = chr(ord(token[index]) ^ 1)
        for altered in (token[:index], token[:index] + letter + token[index + 1 :]):
            with pytest.raises(Unauthenticated):
                read(altered, secret)
    for longer in (f"{token}=", f"{token}.", f"{token} ", token.replace(".", "..", 1), f"{token}é"):
        with pytest.raises(Unauthenticated):
            read(longer, secret)


def test_an_expired_token_is_refused(served: Served) -> None:
    secret = served.store.secrets.get(SECRET)
    with pytest.raises(Unauthenticated, match="has expired"):
        read(sign(replace(CLAIMS, expires=1), secret), secret)


def test_how_long_a_token_holds_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, FakeEngine(answers={"base": TEXT}), feedback_token_s=100.0) as served:
        browser = Browser(served)
        claims = read(browser.token, served.store.secrets.get(SECRET))
        created = served.store.responses.get(browser.response_id).created
        assert 99 < claims.expires - created < 102
        monkeypatch.setattr("serve.api.feedback_token.time.time", lambda: claims.expires - 0.5)
        assert browser.correct().status_code == 201
        monkeypatch.setattr("serve.api.feedback_token.time.time", lambda: claims.expires)
        assert "has expired" in error(browser.correct(), 401)["message"]


def test_a_new_secret_ends_all_tokens_in_all_replicas_at_once(browser: Browser) -> None:
    other = Store(browser.served.replica.settings.database_url)
    other.secrets.rotate(SECRET)
    other.close()
    error(browser.correct(), 401)
    _, token = browser.answered()
    assert browser.correct(token, response_id=browser.answered()[0]).status_code == 403


def test_a_token_ends_with_the_key_that_asked_for_it(browser: Browser) -> None:
    browser.served.store.keys.revoke(browser.key.id)
    assert "not in use any more" in error(browser.correct(), 401)["message"]


def test_a_deleted_answer_can_no_longer_be_corrected(browser: Browser) -> None:
    browser.served.store.erasures.response(browser.response_id)
    error(browser.correct(), 410)


def test_without_keys_a_token_of_this_machine_opens_its_answer_alone(served: Served) -> None:
    answer = served.chat(feedback_token=True).json()
    headers = {"Authorization": f"Bearer {answer['choices'][0]['feedback_token']}"}
    content = {"response_id": answer["id"], "spans": []}
    assert served.client.post("/feedback", json=content, headers=headers).status_code == 201
    error(served.client.get("/v1/models", headers=headers), 403)
    served.store.keys.create("first", ["chat"])

    def correct() -> Any:
        return served.client.post("/feedback", json=content, headers=headers)

    wait_until(lambda: correct().status_code == 401, 5.0)
    assert "not in use any more" in error(correct(), 401)["message"]


def test_the_user_of_the_request_is_the_author_and_no_other(served: Served) -> None:
    browser = Browser(served, ("chat", "authors"), user="ada")
    error(browser.correct(author="bob"), 403)
    stored = served.store.corrections.get(browser.correct().json()["id"])
    assert (stored.author, stored.source) == ("ada", f"{browser.key.id}/ada")
    stranger = Browser(served, ("chat",), user="ada")
    assert served.store.corrections.get(stranger.correct().json()["id"]).source == stranger.key.id
    nobody = Browser(served, ("chat", "authors"))
    named = served.store.corrections.get(nobody.correct(author="ada").json()["id"])
    assert (named.author, named.source) == ("ada", nobody.key.id)


def test_a_user_that_is_too_long_for_an_author_is_refused_with_the_request(served: Served) -> None:
    detail = error(served.chat(feedback_token=True, user="a" * 201), 400)
    assert "at most 200 characters" in detail["message"]
    assert served.chat(user="a" * 201).status_code == 200


def test_what_an_admin_s_token_brings_is_not_reviewed(served: Served) -> None:
    browser = Browser(served, ("admin",))
    assert not served.store.corrections.get(browser.correct().json()["id"]).is_reviewed


def test_many_who_ask_at_once_get_one_secret(tmp_path: Path) -> None:
    stores = [Store(f"sqlite:///{tmp_path}/errata.db") for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda store: store.secrets.get(SECRET), stores))
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    stores[0].secrets.rotate(SECRET)
    assert stores[1].secrets.get(SECRET) not in found
    for store in stores:
        store.close()


def test_pages_of_the_origins_that_are_named_may_ask_and_no_others(tmp_path: Path) -> None:
    engine = FakeEngine(answers={"base": TEXT})
    with serving(tmp_path, engine, browser_origins=("https://app.example",)) as served:
        browser = Browser(served)

        def preflight(origin: str) -> Any:
            asked = {
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
            }
            return served.client.options("/feedback", headers=asked)

        assert (
            preflight("https://app.example").headers["access-control-allow-origin"] == "https://app.example"
        )
        assert "access-control-allow-origin" not in preflight("https://evil.example").headers
        headers = {"Authorization": f"Bearer {browser.token}", "Origin": "https://app.example"}
        content = {"response_id": browser.response_id, "spans": []}
        answer = served.client.post("/feedback", json=content, headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (
            201,
            "https://app.example",
        )
        refused = served.client.get("/v1/models", headers=headers)
        assert (
            refused.headers["access-control-allow-origin"] == "https://app.example"
        )  # its page can read why
        assert "access-control-allow-credentials" not in refused.headers
