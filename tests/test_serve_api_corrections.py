"""Corrections as a list over HTTP: filtered, turned page by page, and of one's own answers only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from records import correction, response
from served import Served, error, listening, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """c0 to c6: the even ones of an answer of the base, the odd ones of v0001."""
    with serving(tmp_path_factory.mktemp("state")) as served:
        served.store.responses.add(response("of base"))
        served.store.responses.add(response("of v0001", adapter="v0001"))
        for number in range(7):
            of = "of v0001" if number % 2 else "of base"
            author = "ada" if number < 3 else None
            created = 100.0 + number
            served.store.corrections.add(
                correction(f"c{number}", response_id=of, author=author, created=created)
            )
        yield served


def listed(served: Served, path: str = "/feedback", **asked: Any) -> Any:
    answer = served.client.get(path, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page: Any) -> str:
    return "".join(one["id"].removeprefix("c") for one in page["data"])


def test_the_newest_come_first_as_each_is_shown_by_itself(served: Served) -> None:
    page = listed(served)
    assert (page["object"], page["has_more"]) == ("list", False)
    assert (ids(page), page["first_id"], page["last_id"]) == ("6543210", "c6", "c0")
    story = served.client.get("/feedback/c6").json()
    assert {**page["data"][0], "used_by": []} == story
    assert listed(served, "/v1/feedback") == page


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"adapter": "v0001"}, "531"),
        ({"author": "ada", "response_id": "of base"}, "20"),
        ({"created_from": 102, "created_before": 104.0}, "32"),
        ({"status": "quarantined"}, ""),
        ({"status": "accepted", "limit": 2}, "65"),
        ({"reason": "link"}, ""),
    ],
)
def test_what_is_asked_for_is_found(served: Served, asked: dict[str, Any], found: str) -> None:
    assert ids(listed(served, **asked)) == found


def test_a_page_goes_on_after_the_last_of_the_page_before(served: Served) -> None:
    first = listed(served, limit=3)
    assert (ids(first), first["has_more"]) == ("654", True)
    second = listed(served, limit=3, after=first["last_id"])
    third = listed(served, limit=3, after=second["last_id"])
    assert (ids(second), second["has_more"], ids(third), third["has_more"]) == ("321", True, "0", False)
    end = listed(served, after="c0")
    assert (end["data"], end["first_id"], end["last_id"], end["has_more"]) == ([], None, None, False)


def test_openai_s_own_client_turns_the_pages(served: Served) -> None:
    from openai import BaseModel
    from openai.pagination import SyncCursorPage

    class Item(BaseModel):
        id: str

    with listening(served) as url, OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        pages = client.get_api_list(
            "/feedback", model=Item, page=SyncCursorPage[Item], options={"params": {"limit": 2}}
        )
        assert "".join(item.id for item in pages) == "c6c5c4c3c2c1c0"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"status": "good"}, "status"),
        ({"created_from": "yesterday"}, "created_from"),
        ({"created_from": "nan"}, "created_from"),
        ({"auhtor": "ada"}, "auhtor"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_name(
    served: Served, asked: dict[str, Any], param: str
) -> None:
    detail = error(served.client.get("/feedback", params=asked), 400)
    assert detail["param"] == param
    assert detail["message"].startswith(param)


def test_a_place_that_there_is_not_is_not_found(served: Served) -> None:
    detail = error(served.client.get("/feedback", params={"after": "c9"}), 404)
    assert "no correction 'c9'" in detail["message"]


def test_a_key_sees_corrections_of_its_own_answers_and_an_admin_all(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        secrets = {}
        for name, scope in (("ada", "feedback"), ("bob", "feedback"), ("boss", "admin")):
            key, secrets[name] = served.store.keys.create(name, [scope])
            served.store.responses.add(response(f"to {name}", key_id=key.id))
            served.store.corrections.add(correction(f"of {name}", response_id=f"to {name}"))

        def ask(name: str, **asked: Any) -> Any:
            headers = {"Authorization": f"Bearer {secrets[name]}"}
            return served.client.get("/feedback", params=asked, headers=headers)

        def seen(name: str, **asked: Any) -> list[str]:
            return [one["id"] for one in ask(name, **asked).json()["data"]]

        assert seen("ada") == ["of ada"]
        assert seen("bob") == ["of bob"]
        assert seen("ada", response_id="to bob") == []
        assert seen("boss") == ["of boss", "of bob", "of ada"]
        error(ask("ada", after="of bob"), 403)
