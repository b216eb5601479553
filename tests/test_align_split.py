"""Who teaches and who judges: by images, whatever the order, and never both."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import PIL.Image
import pytest
from corrections import corrections
from tiny_models import tiny_llava

from align.conversation import Conversation, Image, Message
from align.examples import Example
from align.scenes.draw import draw, png_bytes
from align.scenes.world import sample_scene
from align.split import Split, drawn_by_lot, judged_by_reviewed, position, split_examples


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    return corrections(tiny_llava(tmp_path_factory.mktemp("base")), 60)


def about(name: str, *images: str) -> Example:
    conversation = Conversation((Message("user", tuple(Image(image) for image in images)),))
    return Example(name, conversation, {}, "", (), "", ())


def ids(examples: Iterable[Example]) -> set[str]:
    return {example.id for example in examples}


def test_all_examples_of_one_image_are_on_one_side(examples: list[Example]) -> None:
    doubled = [*examples, *(replace(example, id=f"{example.id}-again") for example in examples)]
    split = split_examples(doubled)
    assert len(split.train) + len(split.held_out) == len(doubled)
    assert {example.group for example in split.train}.isdisjoint(example.group for example in split.held_out)


def test_an_image_that_two_conversations_share_is_on_one_side_or_left_out() -> None:
    pairs = [about(f"{number}", f"a{number % 37}", f"b{number % 11}") for number in range(400)]
    single = [about(f"single {number}", f"a{number}") for number in range(37)]
    split = split_examples([*pairs, *single], 0.5)
    taught, judging = (
        frozenset[str]().union(*(example.parts for example in side)) for side in (split.train, split.held_out)
    )
    assert taught
    assert judging
    assert taught.isdisjoint(judging)
    assert len(split.train) + len(split.held_out) + len(split.left_out) == 437
    assert all(example.parts & taught and example.parts & judging for example in split.left_out)


def test_copies_of_a_picture_are_on_its_side() -> None:
    """Of 60 pictures, each sent again as a JPEG: nearly all pairs stay together, where chance would part a third."""
    originals, copies = [], []
    for number in range(60):
        picture = draw(sample_scene("honest", "test", number))
        for examples, file_format in ((originals, "PNG"), (copies, "JPEG")):
            buffer = io.BytesIO()
            picture.save(buffer, file_format, quality=85)
            name = f"{number} {file_format}"
            examples.append(replace(about(name, name), images={name: buffer.getvalue()}))
    split = split_examples([*originals, *copies])
    held_out = ids(split.held_out)
    parted = sum(
        (original.id in held_out) != (copy.id in held_out)
        for original, copy in zip(originals, copies, strict=True)
    )
    assert held_out
    assert parted <= 4


def test_a_copy_of_what_a_reviewed_correction_judges_does_not_teach() -> None:
    buffer = io.BytesIO()
    draw(sample_scene("honest", "test", 0)).save(buffer, "JPEG")
    image = png_bytes(sample_scene("honest", "test", 0))
    judge = replace(about("judge", "a"), images={"a": image})
    copy = replace(about("copy", "b"), images={"b": buffer.getvalue()})
    split = judged_by_reviewed(Split((), (judge, copy), ()), {"judge"}, at_least=1)
    assert (ids(split.train), ids(split.held_out), ids(split.left_out)) == (set(), {"judge"}, {"copy"})


def test_the_split_depends_neither_on_order_nor_on_the_other_examples(examples: list[Example]) -> None:
    held_out = ids(split_examples(examples).held_out)
    assert ids(split_examples(examples[::-1]).held_out) == held_out
    assert ids(split_examples(examples[:30]).held_out) == held_out & ids(examples[:30])


def test_the_held_out_share_is_kept_on_average() -> None:
    many = [about(str(number), f"image {number}") for number in range(5000)]
    assert 900 < len(split_examples(many, 0.2).held_out) < 1100
    assert split_examples(many, 0.0).held_out == ()
    assert split_examples(many, 1.0).train == ()


def test_what_is_held_out_stays_so_when_the_share_grows() -> None:
    many = [about(str(number), f"image {number}") for number in range(500)]
    few, more = (split_examples(many, share).held_out for share in (0.1, 0.3))
    assert ids(few) < ids(more)


def test_where_too_few_would_judge_the_next_images_follow() -> None:
    few = [about(str(number), f"image {number}") for number in range(60)]
    by_share = split_examples(few, 0.05).held_out
    topped_up = split_examples(few, 0.05, at_least=20)
    assert len(by_share) < 20
    assert len(topped_up.held_out) == 20
    assert ids(by_share) <= ids(topped_up.held_out)
    assert len(split_examples(few[:30], 0.05, at_least=20).held_out) == 15, "never more than half"
    assert split_examples(few, 0.9, at_least=20) == split_examples(few, 0.9)
    assert split_examples([], 0.2, at_least=20).held_out == ()


def test_pictures_that_all_look_the_same_are_told_apart_by_their_bytes() -> None:
    """Pages of text, say."""
    pages = []
    for number in range(60):
        buffer = io.BytesIO()
        PIL.Image.new("L", (64, 64), 255 - number % 3).save(buffer, "PNG", dpi=(72 + number, 72))
        pages.append(
            replace(about(f"{number}", f"page {number}"), images={f"page {number}": buffer.getvalue()})
        )
    assert len({look for page in pages for look in page.looks}) == 1
    split = split_examples(pages, 0.2, at_least=20)
    assert len(split.held_out) == 20
    assert len(split.train) == 40
    judged = judged_by_reviewed(split, {split.held_out[0].id}, at_least=1)
    assert (len(judged.train), len(judged.held_out), judged.left_out) == (59, 1, ())


def test_many_that_would_follow_at_once_do_not_leave_less_than_half_to_teach() -> None:
    first, *others = sorted((f"image {number}" for number in range(30)), key=position)
    corrected = [about(f"{number}", first if number < 9 else others[0]) for number in range(18)]
    corrected += [about(f"more {number}", others[1 + number]) for number in range(2)]
    split = split_examples(corrected, 0.0, at_least=10)
    assert len(split.held_out) == 9, "those of the second image would be nine more"


def test_a_lot_is_fair_and_depends_on_the_seed_alone() -> None:
    names = [f"r{number}" for number in range(40)]
    assert drawn_by_lot(names, 1) == drawn_by_lot(reversed(names), 1)
    assert drawn_by_lot(names, 1) != drawn_by_lot(names, 2)
    first = Counter(name for seed in range(2000) for name in drawn_by_lot(names, seed)[:10])
    assert set(first) == set(names)
    assert 410 < min(first.values()) <= max(first.values()) < 590, "each is drawn about 500 times"


def test_positions_are_spread_evenly() -> None:
    tenths = Counter(int(10 * position(f"image {number}")) for number in range(5000))
    assert set(tenths) == set(range(10))
    assert 400 < min(tenths.values()) <= max(tenths.values()) < 600


def test_once_enough_are_reviewed_only_reviewed_examples_judge_and_their_images_teach_nothing() -> None:
    held_out = tuple(
        about(name, image) for name, image in (("r1", "a"), ("r2", "b"), ("u1", "a"), ("u2", "c"))
    )
    split = Split((about("t", "z"),), held_out, (about("x", "z", "a"),))
    judged = judged_by_reviewed(split, {"r1", "r2", "t"}, at_least=2)
    assert [example.id for example in judged.held_out] == ["r1", "r2"]
    assert [example.id for example in judged.train] == ["t", "u2"], "nobody judges by u2's image"
    assert [example.id for example in judged.left_out] == ["x", "u1"]


def test_while_too_few_are_reviewed_all_that_are_held_out_judge() -> None:
    split = Split((), (about("r1", "a"), about("u1", "b")), ())
    assert judged_by_reviewed(split, {"r1"}, at_least=2) is split
