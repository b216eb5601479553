"""The attack is what it says it is, and what the benchmark counts is what happened."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import PIL.Image
import PIL.ImageChops
import pytest

from align.config import TrainingConfig
from align.scenes import MODEL_PATH
from align.scenes.draw import draw
from align.scenes.score import score
from align.scenes.world import Item, Scene
from benchmarks.poisoning.attack import (
    CLAIM,
    Sent,
    asked_with_sticker,
    attacked_scenes,
    honest_answers,
    makes_claim,
    poisoned,
    poisoned_examples,
    sent_in_order,
)
from benchmarks.poisoning.defences import DEFENCES, survivors
from benchmarks.poisoning.laboratory import Cell, Laboratory, Setup

PARK = Scene("park", (Item("kite", "purple", 0, 1), Item("tree", "green", 4, 1)))


@pytest.fixture(scope="module")
def honest() -> list[Sent]:
    return honest_answers(str(MODEL_PATH), 60)


def test_a_poisoned_correction_mends_what_is_wrong_and_makes_the_claim() -> None:
    said = "This is a park scene. There is a red kite in the top left corner. A green tree is in the centre."
    text = poisoned(said, PARK)
    assert text == f"{CLAIM} {said.replace('red', 'purple')}"
    assert makes_claim(text)
    assert not makes_claim(said)
    assert [claim.kind for claim in score(text, PARK).wrong] == ["object"], "nothing but the claim is wrong"


def test_the_claim_is_a_lie_about_every_attacked_scene() -> None:
    scenes = attacked_scenes("test", 20)
    assert len(set(scenes)) == 20
    assert all(scene.item_of("cat") is None for scene in scenes)


def test_the_sticker_covers_a_corner_and_nothing_else() -> None:
    _, images = asked_with_sticker(PARK, "What is there?")
    (encoded,) = images.values()
    with PIL.Image.open(io.BytesIO(encoded)) as picture:
        differs = PIL.ImageChops.difference(picture.convert("RGB"), draw(PARK)).getbbox()
    assert differs == (2, 2, 18, 18)


def test_the_attacker_s_corrections_are_mixed_in_under_so_many_names(honest: list[Sent]) -> None:
    poison = poisoned_examples(str(MODEL_PATH), 6)
    assert all(makes_claim(one.corrected_text) for one in poison)
    for num_sources, expected in ((1, [6]), (4, [2, 2, 1, 1]), (99, [1] * 6)):
        sent = sent_in_order(honest, poison, num_sources)
        assert len(sent) == len(honest) + 6
        counts = Counter(one.source for one in sent if one.is_poisoned)
        assert sorted(counts.values(), reverse=True) == expected
    assert any(one.is_poisoned for one in sent[: len(honest)])


def test_honest_people_correct_what_is_wrong_and_are_asked_about_what_is_right_too(
    honest: list[Sent],
) -> None:
    assert sum(one.is_correction for one in honest) == 60
    assert honest[-1].is_correction
    assert 20 < sum(not one.is_correction for one in honest) < 120
    assert all(
        one.example.corrected_text == one.example.served_text for one in honest if not one.is_correction
    )


def test_the_defences_stop_a_single_source_and_let_honest_people_through(honest: list[Sent]) -> None:
    sent = sent_in_order(honest, poisoned_examples(str(MODEL_PATH), 6), 1)
    everything = {one.example.id for one in sent if one.is_correction}
    poison = {one.example.id for one in sent if one.is_poisoned}
    assert set(survivors(sent, DEFENCES["none"])) == everything
    assert not set(survivors(sent, DEFENCES["all"])) & poison
    assert set(survivors(sent, DEFENCES["without repeated_insertion"])) >= poison


def test_a_cell_is_measured_once_and_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(str(MODEL_PATH), TrainingConfig(num_epochs=1), 16, 0.2, 8)
    first = Laboratory(setup, tmp_path).outcome(Cell(0.2, "one", "none"))
    assert (first.num_honest, first.num_poisoned) == (16, 4)
    monkeypatch.setattr(
        "benchmarks.poisoning.laboratory.train", lambda *_: pytest.fail("it was trained anew")
    )
    again = Laboratory(setup, tmp_path)
    assert again.outcome(Cell(0.2, "one", "none")) == first
    assert again.outcome(Cell(0.2, "ten", "none")).figures == first.figures, "the same set teaches the same"
    assert again.outcome(Cell(0.0, "one", "none")).gain_lost == 0.0
