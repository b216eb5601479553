from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from corrections import corrections
from tiny_models import tiny_llava

from align.examples import Example
from align.split import is_held_out, split_examples


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    return corrections(tiny_llava(tmp_path_factory.mktemp("base")), 60)


def test_all_examples_of_one_image_are_on_one_side(examples: list[Example]) -> None:
    doubled = [*examples, *(replace(example, id=f"{example.id}-again") for example in examples)]
    train, held_out = split_examples(doubled)
    assert len(train) + len(held_out) == len(doubled)
    assert {example.group for example in train}.isdisjoint(example.group for example in held_out)


def test_the_split_depends_neither_on_order_nor_on_the_other_examples(examples: list[Example]) -> None:
    _, held_out = split_examples(examples)
    _, of_reversed = split_examples(examples[::-1])
    _, of_half = split_examples(examples[:30])
    ids = {example.id for example in held_out}
    assert {example.id for example in of_reversed} == ids
    assert {example.id for example in of_half} == ids & {example.id for example in examples[:30]}


def test_the_held_out_share_is_kept_on_average() -> None:
    num_held_out = sum(is_held_out(f"image {number}", 0.2) for number in range(5000))
    assert 900 < num_held_out < 1100
    assert not any(is_held_out(f"image {number}", 0.0) for number in range(100))
    assert all(is_held_out(f"image {number}", 1.0) for number in range(100))


def test_what_is_held_out_stays_so_when_the_share_grows(tmp_path: Path) -> None:
    groups = [f"image {number}" for number in range(500)]
    assert {g for g in groups if is_held_out(g, 0.1)} <= {g for g in groups if is_held_out(g, 0.3)}
