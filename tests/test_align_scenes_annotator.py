import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from align.scenes.annotator import annotate
from align.scenes.captions import caption, noisy_caption
from align.scenes.score import score
from align.scenes.world import Item, Scene, sample_scene
from align.spans import apply_spans, edit_ratio

SCENE = Scene(
    "park",
    (
        Item("kite", "purple", 1, 1),
        Item("tree", "green", 3, 2),
        Item("cat", "orange", 8, 1),
    ),
)


def corrected(text: str, scene: Scene = SCENE) -> str:
    spans = annotate(text, scene)
    assert spans is not None
    return apply_spans(text, spans)


def kinds(text: str) -> set[str]:
    spans = annotate(text, SCENE)
    assert spans is not None
    return {span.kind for span in spans}


@pytest.mark.parametrize(
    ("text", "expected", "span_kinds"),
    [
        ("A red kite is at the top centre.", "A purple kite is at the top centre.", {"attribute"}),
        ("There is an orange tree.", "There are two green trees.", {"attribute", "number"}),
        ("I see a purple cat.", "I see an orange cat.", {"attribute"}),
        ("In the centre is a kite.", "At the top centre is a kite.", {"position"}),
        ("In total there are 3 objects.", "In total there are 4 objects.", {"number"}),
        ("In total there are six objects.", "In total there are four objects.", {"number"}),
        ("This is a beach scene.", "This is a park scene.", {"other"}),
        ("Two cats are in the bottom right corner.", "A cat is in the bottom right corner.", {"number"}),
        # an invented object becomes what stands there
        (
            "A red ball is at the middle left. I see a cat.",
            "Two green trees are at the middle left. I see a cat.",
            {"object"},
        ),
        # or, where that is named elsewhere or nothing stands there, another object that is not named yet
        (
            "A tree. A red ball is at the middle left.",
            "Two trees. A purple kite is at the top centre.",
            {"object", "number", "position"},
        ),
        (
            "There is a kite at the top and a sun in the centre.",
            "There is a kite at the top and two trees on the left in the middle.",
            {"object", "position"},
        ),
        # and its clause goes where all are named
        (
            "I see two trees. I see a kite. A red ball is in the centre. I see a cat.",
            "I see two trees. I see a kite. I see a cat.",
            {"object"},
        ),
        (
            "Two trees. A cat. I see a kite. I see a red ball in the centre.",
            "Two trees. A cat. I see a kite.",
            {"object"},
        ),
        (
            "Two trees. A cat. In the centre there is a sun, while a purple kite is at the top centre.",
            "Two trees. A cat. A purple kite is at the top centre.",
            {"object"},
        ),
        (
            "Two trees. A cat. There is a kite at the top and a sun in the centre.",
            "Two trees. A cat. There is a kite at the top.",
            {"object"},
        ),
        (
            "Two trees. There is a kite at the top, a sun in the centre and a cat on the right.",
            "Two trees. There is a kite at the top and a cat on the right.",
            {"object"},
        ),
        # a repeated object
        ("A purple kite. A purple kite.", "A purple kite. Two green trees.", {"object"}),
        (
            "A kite is at the top. A red kite is at the top right.",
            "A kite is at the top. Two green trees are at the middle left.",
            {"object", "position"},
        ),
        (
            "Two trees. A cat. A kite is at the top. A red kite is at the top right.",
            "Two trees. A cat. A kite is at the top.",
            {"object"},
        ),
        # a text that would be left empty is made true instead
        ("A sun is in the very middle.", "A kite is in the top middle.", {"object", "position"}),
        ("I can see a purple kite.", "I can see a purple kite.", set()),
    ],
)
def test_hand_written_texts_get_the_smallest_edit(text: str, expected: str, span_kinds: set[str]) -> None:
    assert corrected(text) == expected
    assert kinds(text) == span_kinds


def test_a_single_wrong_word_is_a_single_changed_word() -> None:
    text = "A purple kite can be seen in the top middle, and two white trees are at the middle left."
    spans = annotate(text, SCENE)
    assert spans is not None
    assert [(text[span.start : span.end], span.replacement) for span in spans] == [("white", "green")]


def test_what_the_parser_cannot_read_gets_no_annotation() -> None:
    for text in ("", "kite kite", "A dog is in the centre.", "A purple kite is at the"):
        assert annotate(text, SCENE) is None


@pytest.mark.parametrize("is_about_another_scene", [False, True])
def test_corrected_texts_are_true_readable_and_cover_no_less(is_about_another_scene: bool) -> None:
    num_edited = 0
    for index in range(800):
        scene = sample_scene("honest", "train", index)
        told = sample_scene("training", "train", index + 5000) if is_about_another_scene else scene
        text = noisy_caption(told, random.Random(index))
        before, spans = score(text, scene), annotate(text, scene)
        assert spans is not None
        assert bool(spans) == before.is_hallucinated
        after = score(apply_spans(text, spans), scene)
        assert not after.wrong, (text, spans)
        assert not after.is_unreadable
        assert after.num_covered >= max(1, before.num_covered)
        num_edited += bool(spans)
    assert num_edited > 300


def test_sentences_torn_from_their_caption_are_corrected_too() -> None:
    for index in range(300):
        scene = sample_scene("honest", "train", index)
        foreign = noisy_caption(sample_scene("honest", "train", index + 900), random.Random(index))
        sentences = [sentence + "." for sentence in foreign.rstrip(".").split(". ")]
        text = random.Random(index).choice(sentences)
        after = score(corrected(text, scene), scene)
        assert not after.wrong
        assert not after.is_unreadable


def test_corrections_begin_with_capitals_and_keep_single_spaces() -> None:
    for index in range(300):
        scene = sample_scene("honest", "train", index)
        text = corrected(noisy_caption(scene, random.Random(index)), scene)
        assert "  " not in text
        assert text == text.strip()
        assert all(sentence[0].isupper() for sentence in text.split(". ")), text


def test_few_words_change_and_true_texts_none() -> None:
    ratios = []
    for index in range(300):
        scene = sample_scene("honest", "train", index)
        assert annotate(caption(scene, random.Random(index)), scene) == []
        text = noisy_caption(scene, random.Random(index))
        spans = annotate(text, scene)
        assert spans is not None
        if spans:
            ratios.append(edit_ratio(text, spans))
    assert sum(ratios) / len(ratios) < 0.3


WORDS = st.sampled_from(
    [
        *(
            "a",
            "an",
            "the",
            "one",
            "two",
            "three",
            "a pair of",
            "red",
            "orange",
            "blue",
            "cat",
            "cats",
            "umbrella",
        ),
        *(
            "fish",
            "kite",
            "trees",
            "is",
            "are",
            "there",
            "There are",
            "also",
            "appears",
            "I see",
            "you can see",
        ),
        *(
            "at the top left",
            "in the centre",
            "on the right",
            "In the very middle",
            "halfway down the left side",
        ),
        *(
            "and",
            ", and",
            ",",
            ", while",
            ";",
            ".",
            ". ",
            "!",
            "This is a park scene.",
            "This is a night scene.",
        ),
        *("In total there are", "4", "four", "seven", "objects", "objects in total", "no", "dog", "\n"),
    ]
)
CLAUSES = st.tuples(
    st.sampled_from(["There is ", "there are ", "I see ", "", "Is "]),
    st.sampled_from(["a red ", "an orange ", "two ", "three green ", "the ", "a ", "", "one blue "]),
    st.sampled_from(["cat", "kites", "umbrella", "fish", "tree", "bus", "suns"]),
    st.sampled_from([" is ", " are ", " appear ", " "]),
    st.sampled_from(
        ["in the centre", "at the top", "on the left in the middle", "In the top right corner", ""]
    ),
    st.sampled_from([". ", " and ", ", while ", ", ", "! ", ". In total there are five objects. "]),
).map("".join)


@given(st.lists(WORDS, max_size=14).map(" ".join) | st.lists(CLAUSES, max_size=5).map("".join) | st.text())
@settings(max_examples=400, deadline=None)
@example("a cats")
def test_any_text_is_scored_and_every_annotation_makes_it_true(text: str) -> None:
    result, spans = score(text, SCENE), annotate(text, SCENE)
    assert (spans is None) == result.is_unreadable
    if spans is not None:
        after = score(apply_spans(text, spans), SCENE)
        assert (after.wrong, after.is_unreadable) == ((), False)
        assert bool(spans) == result.is_hallucinated
