from __future__ import annotations

import hashlib
import io

import pytest
from PIL import Image as Picture
from tiny_models import png

from align.conversation import Conversation, Image, Message, Text
from align.corruption import corrupted
from align.errors import InvalidImage


def asked(*images: bytes) -> tuple[Conversation, dict[str, bytes]]:
    """A question about the images."""
    by_name = {hashlib.sha256(encoded).hexdigest(): encoded for encoded in images}
    names = [hashlib.sha256(encoded).hexdigest() for encoded in images]
    return Conversation((Message("user", (*map(Image, names), Text("What is there?"))),)), by_name


def pieces(*images: bytes) -> list[Picture.Image]:
    conversation, by_name = corrupted(*asked(*images))
    return [Picture.open(io.BytesIO(by_name[name])).convert("RGB") for name in conversation.image_ids]


def test_a_corrupted_image_keeps_its_size_and_shows_something_else() -> None:
    encoded = png(1, (60, 40))
    (piece,) = pieces(encoded)
    assert piece.size == (60, 40)
    assert piece.tobytes() != Picture.open(io.BytesIO(encoded)).convert("RGB").tobytes()


def test_the_words_stay_and_each_image_has_a_new_name() -> None:
    conversation, images = asked(png(1), png(2), png(1))
    changed, pieces = corrupted(conversation, images)
    assert changed.messages[0].parts[-1] == Text("What is there?")
    first, second, again = changed.image_ids
    assert first == again != second
    assert set(changed.image_ids) == set(pieces)
    assert set(changed.image_ids).isdisjoint(images)


def test_what_is_left_is_a_small_piece_of_the_image() -> None:
    down = Picture.linear_gradient("L")  # 256 x 256: a pixel's green says its row, its red its column
    for shade in range(5):
        blue = Picture.new("L", down.size, shade)
        buffer = io.BytesIO()
        Picture.merge("RGB", (down.rotate(90), down, blue)).save(buffer, "PNG")
        (piece,) = pieces(buffer.getvalue())
        columns, rows, _ = (high - low for low, high in piece.getextrema())
        assert columns * rows <= 0.2 * 256**2


def test_the_same_image_is_always_corrupted_in_the_same_way() -> None:
    assert corrupted(*asked(png(1))) == corrupted(*asked(png(1)))


def test_an_image_of_one_pixel_stays_one() -> None:
    assert pieces(png(1, (1, 1)))[0].size == (1, 1)


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(InvalidImage):
        corrupted(*asked(b"no image"))


def test_a_conversation_without_images_stays_as_it_is() -> None:
    conversation = Conversation((Message("user", (Text("Hello"),)),))
    assert corrupted(conversation, {}) == (conversation, {})
