import random

import pytest

from align.scenes.captions import caption, noisy_caption
from align.scenes.evaluate import accuracies, measure
from align.scenes.questions import Question
from align.scenes.score import score
from align.scenes.world import Item, Scene, sample_scene

SCENE = Scene(
    "park",
    (
        Item("kite", "purple", 1, 1),
        Item("tree", "green", 3, 2),
        Item("cat", "orange", 8, 1),
    ),
)
TRUE = (
    "This is a park scene. At the top centre there is a purple kite, while two green trees are at the middle "
    "left. I can see an orange cat in the lower right corner. In total there are four objects."
)


def wrong(text: str, scene: Scene = SCENE) -> list[tuple[str, str]]:
    return [(claim.kind, text[claim.start : claim.end]) for claim in score(text, scene).wrong]


def test_a_true_text_has_nothing_wrong() -> None:
    result = score(TRUE, SCENE)
    assert (result.wrong, result.is_unreadable, result.coverage) == ((), False, 1.0)
    assert result.num_words == len(TRUE.split())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("purple", "red", [("colour", "red")]),
        ("a purple kite", "a purple ball", [("object", "a purple ball")]),
        ("two green trees", "three green trees", [("number", "three")]),
        ("two green trees", "a green tree", [("number", "a")]),
        ("at the middle left", "at the bottom left", [("position", "at the bottom left")]),
        ("four objects", "five objects", [("total", "five")]),
        ("four objects", "12 objects", [("total", "12")]),
        ("a park scene", "a beach scene", [("theme", "beach")]),
        ("an orange cat", "two black cats", [("number", "two"), ("colour", "black")]),
        ("an orange cat", "a purple kite", [("repeat", "a purple kite")]),
        ("four objects", "4 objects", []),
        ("an orange cat", "one orange cat", []),
        ("two green trees", "a pair of green trees", []),
        ("two green trees", "the green trees", []),
        ("an orange cat", "a cat", []),
        ("in the lower right corner", "on the right", []),
        (" in the lower right corner", "", []),
        ("in the lower right corner", "at the top", [("position", "at the top")]),
    ],
)
def test_each_kind_of_wrong_claim_is_found_where_it_stands(
    old: str, new: str, expected: list[tuple[str, str]]
) -> None:
    assert old in TRUE
    text = TRUE.replace(old, new)
    assert not score(text, SCENE).is_unreadable
    assert wrong(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "There is a purple kite at the top, two green trees on the left and an orange cat in the bottom right.",
        "there is a kite and there are two trees",
        "The picture shows a purple kite at the top; an orange cat is in the bottom right corner!",
        "In the top middle, there is a kite. The orange cat is at the bottom right",
        "A kite. Trees. A cat.",
    ],
)
def test_free_hand_written_texts_are_read(text: str) -> None:
    assert not score(text, SCENE).is_unreadable
    assert wrong(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "There is no cat in the centre.",
        "A dog is in the centre.",
        "A purple kite is at the top centre and it flies.",
        "A purple kite is at the",
        "The cat is purple.",
        "kite kite kite",
        "I can see a purple purple kite in the centre.",
        "There are two objects.",
    ],
)
def test_what_cannot_be_read_is_counted_and_never_taken_as_right(text: str) -> None:
    assert score(text, SCENE).is_unreadable


def test_an_unread_part_does_not_hide_the_wrong_claims_beside_it() -> None:
    text = "It is sunny today. A red kite is at the top centre."
    result = score(text, SCENE)
    assert [piece.text for piece in result.unread] == ["It is sunny today."]
    assert result.is_unreadable
    assert wrong(text) == [("colour", "red")]


def test_of_two_clauses_on_one_object_the_truer_counts_and_the_other_repeats_it() -> None:
    assert wrong("A red kite is in the centre. A purple kite is at the top centre.") == [
        ("repeat", "A red kite")
    ]


def test_absent_objects_named_twice_are_wrong_twice_and_cover_nothing() -> None:
    result = score("A sun is at the top left. A sun is at the top right.", SCENE)
    assert [claim.kind for claim in result.wrong] == ["object", "object"]
    assert (result.num_covered, result.num_objects, result.num_mentions) == (0, 3, 2)


def test_hundreds_of_corruptions_are_found_and_nothing_else() -> None:
    for index in range(400):
        scene = sample_scene("honest", "train", index)
        text = caption(scene, random.Random(index))
        item = scene.items[index % len(scene.items)]
        other = "black" if item.colour != "black" else "white"
        broken = text.replace(f"{item.colour} {item.kind}", f"{other} {item.kind}")
        expected = [] if broken == text else [("colour", other)]
        assert [(kind, part.lower()) for kind, part in wrong(broken, scene)] == expected


def test_figures_are_means_with_intervals_around_them() -> None:
    scenes = [sample_scene("honest", "test", index) for index in range(200)]
    texts = [noisy_caption(scene, random.Random(index)) for index, scene in enumerate(scenes)]
    texts[0] = "?"
    figures = measure(texts, scenes)
    scores = [score(text, scene) for text, scene in zip(texts, scenes, strict=True)]
    assert figures.num_answers == 200
    assert figures.hallucinated.value == pytest.approx(sum(s.is_hallucinated for s in scores) / 200)
    assert figures.coverage.value == pytest.approx(sum(s.coverage for s in scores) / 200, abs=1e-4)
    assert figures.unreadable.value == 1 / 200
    assert figures.chair_i.value == pytest.approx(
        sum(s.num_wrong("object") for s in scores) / sum(s.num_mentions for s in scores), abs=1e-4
    )
    for estimate in (figures.hallucinated, figures.coverage, figures.words, figures.chair_i):
        assert estimate.low < estimate.value < estimate.high
    assert 0.1 < figures.hallucinated.high - figures.hallucinated.low < 0.18  # 4 standard errors of a half


def test_figures_of_a_perfect_writer_are_perfect() -> None:
    scenes = [sample_scene("honest", "test", index) for index in range(50)]
    figures = measure([caption(scene, random.Random(1)) for scene in scenes], scenes)
    assert figures.hallucinated.value == figures.chair_i.value == figures.unreadable.value == 0
    assert figures.coverage.low == 1
    with pytest.raises(ValueError, match="one answer a scene"):
        measure([], [])


def test_accuracies_judge_yes_and_no_by_the_first_word_and_others_by_the_whole() -> None:
    asked = [
        Question("present", "Is there a cat?", "Yes, there is a cat."),
        Question("typical", "Is there a sun?", "No, there is no sun."),
        Question("colour", "What colour is the cat?", "The cat is red."),
    ]
    result = accuracies(["Yes, there are two cats.", "Yes, there is a sun.", "The cat is red."], asked)
    assert {name: estimate.value for name, estimate in result.items()} == {
        "present": 1, "typical": 0, "yes_no": 0.5, "colour": 1,
    }  # fmt: skip
