"""Images out of requests: what is a picture within the limits is kept once, everything else is refused unread."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from served import Served, data_url, encoded, error, image_part, serving

LIMIT = 5000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = {"max_bytes": LIMIT, "max_pixels": 10_000, "max_per_request": 3}
    with serving(tmp_path_factory.mktemp("state"), images=limits) as served:
        yield served


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_pictures_are_read_kept_and_recorded_by_their_hash(served: Served, image_format: str) -> None:
    data = encoded(image_format)
    digest = hashlib.sha256(data).hexdigest()
    question = [
        image_part(data_url(data, f"image/{image_format.lower()}")),
        {"type": "text", "text": "What?"},
    ]
    record = served.store.responses.get(served.respond(question))
    assert record.conversation[0]["content"] == [
        {"type": "image", "sha256": digest},
        {"type": "text", "text": "What?"},
    ]
    assert served.replica.blobs.get_image(digest) == data
    assert served.engine.prepared[-1][1] == {digest: data}


def test_a_picture_shown_twice_stands_twice_in_the_conversation(served: Served) -> None:
    part = image_part(data_url(encoded()))
    record = served.store.responses.get(served.respond([part, {"type": "text", "text": "Same?"}, part]))
    assert [one["type"] for one in record.conversation[0]["content"]] == ["image", "text", "image"]


def test_the_detail_that_openais_clients_send_is_taken(served: Served) -> None:
    part = {"type": "image_url", "image_url": {"url": data_url(encoded()), "detail": "high"}}
    served.respond([part])


def test_a_picture_of_a_refused_request_is_not_kept(served: Served) -> None:
    data = encoded(size=(9, 9))
    part = image_part(data_url(data))
    error(served.chat([part], model="gpt-5"), 404)
    path = f"images/{hashlib.sha256(data).hexdigest()[:2]}"
    assert not (served.replica.settings.state / "blobs" / path).exists()


def png_of_size(width: int, height: int) -> bytes:
    """A few bytes that claim to be a picture of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def bad_urls() -> dict[str, tuple[str, str]]:
    big = encoded(size=(100, 100), compress_level=0)
    assert len(big) > LIMIT
    return {
        "http": ("http://127.0.0.1/a.png", "must be a data: URL; this server fetches nothing"),
        "https": ("https://example.com/a.png", "must be a data: URL"),
        "file": ("file:///etc/passwd", "must be a data: URL"),
        "empty": ("", "must be a data: URL"),
        "no comma": ("data:image/png;base64", "must look like data:image/png;base64,..."),
        "not base64": ("data:image/png,abc", "must look like data:image/png;base64,..."),
        "broken base64": ("data:image/png;base64,a*b=", "not valid base64"),
        "not ascii": ("data:image/png;base64,ÄÖÜ=", "not valid base64"),
        "padding": ("data:image/png;base64,abcde", "not valid base64"),
        "nothing": ("data:image/png;base64,", "cannot be read as PNG, JPEG, WEBP, GIF"),
        "svg": (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "cannot be read"),
        "bmp": (data_url(encoded("BMP"), "image/bmp"), "cannot be read as PNG"),
        "tiff": (data_url(encoded("TIFF"), "image/tiff"), "cannot be read as PNG"),
        "bmp in disguise": (data_url(encoded("BMP"), "image/png"), "cannot be read as PNG"),
        "truncated png": (data_url(encoded(size=(30, 30), compress_level=0)[:-500]), "cannot be read"),
        "truncated jpeg": (data_url(encoded("JPEG", size=(50, 50))[:-100], "image/jpeg"), "cannot be read"),
        "too many bytes": (data_url(big), f"an image is larger than {LIMIT} bytes"),
        "too many pixels": (
            data_url(encoded(size=(101, 100))),
            "an image has 101 x 100 pixels, the limit is 10000",
        ),
        "bomb": (data_url(png_of_size(60_000, 60_000)), "an image"),
        "no size": (data_url(png_of_size(0, 5)), "an image"),
    }


@pytest.mark.parametrize("case", bad_urls())
def test_what_is_no_picture_within_the_limits_is_refused(
    served: Served, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, message = bad_urls()[case]
    if "pixels" in case or case in ("bomb", "too many bytes"):
        monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    num_submitted = len(served.engine.submitted)
    detail = error(served.chat([image_part(url)]), 400)
    assert detail["type"] == "invalid_request_error"
    assert message in detail["message"]
    assert len(served.engine.submitted) == num_submitted


def test_too_many_pictures_are_refused_before_one_is_decoded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.api.conversations.read_images", lambda *_: pytest.fail("it was decoded"))
    part = image_part(data_url(encoded()))
    assert error(served.chat([part] * 4), 400)["message"] == "a request may hold 3 images"


def test_pictures_of_one_request_have_a_limit_of_pixels_together(tmp_path: Path) -> None:
    """Each is decoded and held until the model has seen it: sixteen large ones, a few kilobytes each, are gigabytes."""
    with serving(tmp_path, images={"max_total_pixels": 30_000, "max_pixels": 10_000}) as served:
        parts = [image_part(data_url(encoded(size=(100, 100 - n)))) for n in range(4)]
        served.respond(parts[:3])
        served.respond([parts[0]] * 6)  # one picture
        message = error(served.chat(parts), 400)["message"]
        assert message == "the images have more than 30000 pixels in all"


def test_only_users_show_pictures(served: Served) -> None:
    part: dict[str, Any] = image_part(data_url(encoded()))
    messages = [{"role": "system", "content": [part]}, {"role": "user", "content": "What?"}]
    detail = error(served.chat(messages=messages), 400)
    assert detail["message"] == "only user messages may hold images, not system messages"


def test_a_limit_of_bytes_is_one_of_the_picture_not_of_its_base64(served: Served) -> None:
    data = encoded()
    padded = data + bytes(LIMIT - len(data))  # decoders ignore what comes after the end
    assert len(base64.b64encode(padded)) > LIMIT
    served.respond([image_part(data_url(padded))])
    assert "larger than" in error(served.chat([image_part(data_url(padded + bytes(3)))]), 400)["message"]
