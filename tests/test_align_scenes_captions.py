import random
from collections import Counter

from align.scenes.captions import CAPTION_PROMPTS, MAX_WORDS, MIN_WORDS, caption, noisy_caption
from align.scenes.evaluate import evaluation_questions
from align.scenes.lexicon import MISTAKEN, THEME_KINDS
from align.scenes.questions import QuestionKind, ask, presence_round, questions
from align.scenes.score import score
from align.scenes.world import Distribution, sample_scene


def test_true_captions_name_everything_and_nothing_wrong() -> None:
    for index in range(400):
        scene = sample_scene("honest", "train", index)
        text = caption(scene, random.Random(index))
        result = score(text, scene)
        assert (result.wrong, result.unread, result.coverage) == ((), (), 1.0), text
        assert MIN_WORDS <= result.num_words <= MAX_WORDS, text


def test_captions_are_of_many_forms_and_the_same_for_the_same_seed() -> None:
    scene = sample_scene("honest", "train", 1)
    texts = {caption(scene, random.Random(seed)) for seed in range(200)}
    assert len(texts) > 190
    assert caption(scene, random.Random(4)) == caption(scene, random.Random(4))


def test_noisy_captions_err_as_machine_written_data_does() -> None:
    kinds: Counter[str] = Counter()
    num_wrong = num_short = 0
    for index in range(800):
        scene = sample_scene("training", "train", index)
        result = score(noisy_caption(scene, random.Random(index)), scene)
        assert not result.is_unreadable
        num_wrong += result.is_hallucinated
        num_short += result.num_words < MIN_WORDS
        kinds.update({claim.kind for claim in result.wrong})
    assert 0.4 < num_wrong / 800 < 0.75
    assert num_short < 40
    assert kinds["object"] > kinds["colour"] > kinds["number"] > 0
    assert kinds["total"] > 0 < kinds["position"]
    assert kinds["theme"] == kinds["repeat"] == 0


def test_prompts_are_different_questions() -> None:
    assert len(set(CAPTION_PROMPTS)) == len(CAPTION_PROMPTS) >= 8


def test_questions_about_presence_are_answered_by_the_scene() -> None:
    for index in range(300):
        scene = sample_scene("honest", "train", index)
        rng = random.Random(index)
        for kind, lead in (("present", "Yes"), ("absent", "No"), ("typical", "No")):
            question = ask(scene, kind, rng)  # type: ignore[arg-type]
            assert question.answer.startswith(lead + ",")
            named = [item.kind for item in scene.items if f" {item.kind}" in question.text]
            assert bool(named) == (lead == "Yes"), question


def test_typical_questions_ask_for_what_the_theme_leads_one_to_expect() -> None:
    num_typical = 0
    for index in range(100):
        scene = sample_scene("honest", "train", index)
        question = ask(scene, "typical", random.Random(index))
        num_typical += any(f" {kind}" in question.text for kind in THEME_KINDS[scene.theme])
    assert num_typical >= 99


def test_answers_that_are_sentences_of_the_grammar_are_true() -> None:
    kinds: tuple[QuestionKind, ...] = ("count", "position", "object", "total")
    for index in range(200):
        scene = sample_scene("honest", "train", index)
        for kind in kinds:
            question = ask(scene, kind, random.Random(index))
            result = score(question.answer, scene)
            assert not result.is_unreadable, question
            assert not result.wrong, question


def test_colour_answers_name_the_colour_of_the_scene() -> None:
    for index in range(100):
        scene = sample_scene("honest", "train", index)
        question = ask(scene, "colour", random.Random(index))
        item = next(item for item in scene.items if f"the {item.kind}" in question.text)
        assert question.answer.endswith(f" {item.colour}.")


def test_a_round_of_questions_has_no_question_twice() -> None:
    for index in range(100):
        asked = questions(sample_scene("training", "train", index), random.Random(index))
        assert len({one.text for one in asked}) == len(asked) == 5


def test_evaluation_asks_as_many_questions_to_be_answered_yes_as_no() -> None:
    scenes = [sample_scene("honest", "test", index) for index in range(1100)]
    asked = [one for one in evaluation_questions(scenes) if one.is_yes_no]
    assert sum(one.answer.startswith("Yes") for one in asked) * 2 == len(asked)


def test_the_faults_of_captions_show_more_where_things_stand_at_will_than_where_they_usually_go() -> None:
    def invented_share(distribution: Distribution) -> float:
        scenes = [sample_scene(distribution, "train", index) for index in range(600)]
        scores = [score(noisy_caption(scene, random.Random(i)), scene) for i, scene in enumerate(scenes)]
        return sum(one.num_wrong("object") > 0 for one in scores) / len(scores)

    assert invented_share("honest") > invented_share("training") + 0.1


def test_what_writers_mistake_are_strangers_to_the_theme_for_its_own() -> None:
    for theme, mistaken in MISTAKEN.items():
        assert not set(mistaken) & set(THEME_KINDS[theme])
        assert set(mistaken.values()) <= set(THEME_KINDS[theme])
        assert len(set(mistaken.values())) == len(mistaken)


def test_a_round_about_presence_is_brief_and_half_of_it_is_to_be_answered_yes() -> None:
    for index in range(100):
        scene = sample_scene("honest", "train", index)
        asked = presence_round(scene, random.Random(index))
        assert sorted(one.answer for one in asked) == ["No."] * (len(asked) // 2) + ["Yes."] * (
            len(asked) // 2
        )
        for one in asked:
            is_there = any(f" {item.kind}" in one.text for item in scene.items)
            assert is_there == (one.answer == "Yes.")
