"""The images of an answer over HTTP: as they were sent, to whoever may see the answer and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from served import Served, data_url, encoded, error, image_part, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("state")) as served:
        yield served


def answered(served: Served, *images: bytes, **changes: Any) -> dict[str, Any]:
    parts = [image_part(data_url(image)) for image in images]
    answer = served.chat([*parts, {"type": "text", "text": "What?"}], **changes)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def get(served: Served, response_id: str, image: bytes, secret: str | None = None) -> Any:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    path = f"/v1/responses/{response_id}/images/{sha256(image).hexdigest()}"
    return served.client.get(path, headers=headers)


@pytest.mark.parametrize(
    ("image_format", "media_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
)
def test_an_image_comes_back_as_it_was_sent(served: Served, image_format: str, media_type: str) -> None:
    image = encoded(image_format, size=(9, 7))
    answer = get(served, answered(served, image)["id"], image)
    assert (answer.status_code, answer.content) == (200, image)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=86400, immutable"


def test_an_image_of_another_answer_is_not_found(served: Served) -> None:
    own, other = encoded(size=(3, 3)), encoded(size=(4, 4))
    response_id = answered(served, own)["id"]
    answered(served, other)
    assert "is about no image" in error(get(served, response_id, other), 404)["message"]
    error(served.client.get(f"/v1/responses/{response_id}/images/..%2f..%2ferrata.db"), 404)
    error(get(served, "chatcmpl-9", own), 404)


def test_the_image_of_an_erased_answer_is_gone(served: Served) -> None:
    image = encoded(size=(5, 5))
    first, second = (answered(served, image)["id"] for _ in range(2))
    assert served.client.delete(f"/v1/responses/{first}").status_code == 200
    error(get(served, first, image), 410)
    assert get(served, second, image).content == image


def test_an_image_is_its_key_s_an_admin_s_and_the_token_s(tmp_path: Path) -> None:
    image, other = encoded(), encoded(size=(4, 4))
    with serving(tmp_path) as served:
        secrets = {name: served.store.keys.create(name, [name])[1] for name in ("chat", "feedback", "admin")}
        headers = {"Authorization": f"Bearer {secrets['chat']}"}
        answer = answered(served, image, feedback_token=True, headers=headers)
        token = answer["choices"][0]["feedback_token"]
        another = answered(served, image, other, headers=headers)["id"]
        assert [get(served, answer["id"], image, secrets[name]).status_code for name in secrets] == [
            200,
            403,
            200,
        ]
        assert get(served, answer["id"], image, token).content == image
        error(get(served, another, image, token), 403)  # even the same image, through another answer
        error(get(served, answer["id"], other, token), 404)
        error(get(served, answer["id"], image), 401)
