"""Answers as a list over HTTP: filtered, turned page by page, and one's own only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from records import correction, response
from served import Served, error, listening, serving

from align.state.wanted_responses import IMPORTED


def asked(*messages: tuple[str, list[dict[str, str]]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": parts} for role, parts in messages]


TALK = asked(
    ("user", [{"type": "image", "sha256": "a" * 64}, {"type": "text", "text": "What is that?"}]),
    ("assistant", [{"type": "text", "text": "A cup."}]),
    (
        "user",
        [
            {"type": "image", "sha256": "b" * 64},
            {"type": "text", "text": "And here?"},
            {"type": "image", "sha256": "a" * 64},
            {"type": "text", "text": "Be short."},
        ],
    ),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """r0 to r6, the odd ones of v0001; r1 and r2 were corrected, r3 has nothing wrong, r4's correction is erased."""
    with serving(tmp_path_factory.mktemp("state")) as served:
        store = served.store
        for number in range(7):
            changes: dict[str, Any] = {"adapter": "v0001"} if number % 2 else {}
            if number == 6:
                changes = {"conversation": TALK, "user": "ada", "model": "errata-scenes@base"}
            store.responses.add(response(f"r{number}", created=100.0 + number, **changes))
        store.responses.add(response("imported", created=200.0, adapter=IMPORTED))
        store.responses.add(response("erased", created=103.5, text="Forget me."))
        for name, of, status in (
            ("c1", "r1", "accepted"),
            ("c2", "r2", "quarantined"),
            ("c3", "r3", "nothing_wrong"),
            ("c4", "r4", "accepted"),
            ("c5", "r1", "rejected"),
        ):
            store.corrections.add(correction(name, response_id=of, status=status))
        store.erasures.correction("c4")
        store.erasures.response("erased")
        yield served


def listed(served: Served, **asked: Any) -> Any:
    answer = served.client.get("/v1/responses", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page: Any) -> str:
    return "".join(one["id"].removeprefix("r") for one in page["data"])


def test_the_newest_come_first_in_short(served: Served) -> None:
    page = listed(served)
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == (
        "list",
        "r6",
        "r0",
        False,
    )
    assert ids(page) == "6543210"  # neither the erased nor the imported one
    assert page["data"][0] == {
        "id": "r6",
        "object": "response.summary",
        "created": 106,
        "model": "errata-scenes@base",
        "adapter": "base",
        "question": "And here?\nBe short.",
        "text": "A red cup and a fork.",
        "images": ["a" * 64, "b" * 64],
        "user": "ada",
        "num_corrections": 0,
    }
    assert [one["num_corrections"] for one in page["data"]] == [0, 0, 0, 1, 1, 2, 0]
    assert "Forget me." not in str(page)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"adapter": "v0001"}, "531"),
        ({"adapter": "imported"}, ""),
        ({"user": "ada"}, "6"),
        ({"model": "errata-scenes"}, "543210"),
        ({"corrected": "false"}, "6540"),
        ({"corrected": "true"}, "321"),
        ({"corrected": "true", "adapter": "v0001"}, "31"),
        ({"created_from": 102, "created_before": 104.0}, "32"),
        ({"corrected": "false", "limit": 2}, "65"),
    ],
)
def test_what_is_asked_for_is_found(served: Served, asked: dict[str, Any], found: str) -> None:
    assert ids(listed(served, **asked)) == found


def test_a_page_goes_on_after_the_last_of_the_page_before(served: Served) -> None:
    first = listed(served, limit=3)
    assert (ids(first), first["has_more"]) == ("654", True)
    served.store.responses.add(response("r7", created=107.0))  # what arrives meanwhile moves no page
    second = listed(served, limit=3, after=first["last_id"])
    assert (ids(second), second["has_more"]) == ("321", True)
    served.store.erasures.response("r7")
    assert ids(listed(served, after="erased")) == "3210"  # what is erased keeps its place
    end = listed(served, after="r0")
    assert (end["data"], end["first_id"], end["last_id"], end["has_more"]) == ([], None, None, False)


def test_of_answers_of_the_same_moment_each_is_listed_once(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        for number in range(5):
            served.store.responses.add(response(f"r{number}", created=1.0))
        pages, after = [], {}
        for _ in range(3):
            page = listed(served, limit=2, **after)
            pages.append(ids(page))
            after = {"after": page["last_id"]}
        assert pages == ["43", "21", "0"]


def test_openai_s_own_client_turns_the_pages(served: Served) -> None:
    from openai import BaseModel
    from openai.pagination import SyncCursorPage

    class Item(BaseModel):
        id: str

    with listening(served) as url, OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        pages = client.get_api_list(
            "/responses", model=Item, page=SyncCursorPage[Item], options={"params": {"limit": 2}}
        )
        assert "".join(item.id for item in pages) == "r6r5r4r3r2r1r0"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"corrected": "perhaps"}, "corrected"),
        ({"created_before": "nan"}, "created_before"),
        ({"usr": "ada"}, "usr"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_name(
    served: Served, asked: dict[str, Any], param: str
) -> None:
    assert error(served.client.get("/v1/responses", params=asked), 400)["param"] == param


def test_a_place_that_there_is_not_is_not_found(served: Served) -> None:
    assert "no response 'r9'" in error(served.client.get("/v1/responses?after=r9"), 404)["message"]


def test_a_key_sees_its_own_answers_and_an_admin_all(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        secrets = {}
        for name, scope in (("ada", "chat"), ("bob", "feedback"), ("boss", "admin")):
            key, secrets[name] = served.store.keys.create(name, [scope])
            served.store.responses.add(response(f"to {name}", key_id=key.id))

        def ask(name: str, **asked: Any) -> Any:
            headers = {"Authorization": f"Bearer {secrets[name]}"}
            return served.client.get("/v1/responses", params=asked, headers=headers)

        def seen(name: str) -> list[str]:
            return [one["id"] for one in ask(name).json()["data"]]

        assert seen("ada") == ["to ada"]
        assert seen("bob") == ["to bob"]
        assert seen("boss") == ["to boss", "to bob", "to ada"]
        error(ask("ada", after="to bob"), 403)
        assert ask("boss", after="to bob").status_code == 200
