"""The model card: what the model is, how it was made and how it measures. Every figure in it is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from .answers import load_model
from .evaluate import Estimate, Figures, evaluate, evaluate_questions
from .lessons import Lesson
from .noise import Noise
from .score import CLAIM_KINDS


@dataclass(frozen=True)
class Making:
    """How the model was made."""

    num_parameters: int
    sight_steps: int
    sight_scenes: int
    talk_steps: int
    num_conversations: int
    seconds: float
    lessons: tuple[Lesson, ...]


@dataclass(frozen=True)
class Measured:
    num_scenes: int
    honest: Figures
    honest_sampled: Figures
    training: Figures
    questions: dict[str, Estimate]


def write_card(model_path: Path, making: Making, num_scenes: int) -> None:
    """Measures the model in `model_path` on the test split and writes its README.md."""
    network, processor = load_model(model_path)
    measured = Measured(
        num_scenes,
        honest=evaluate(network, processor, "honest", "test", num_scenes, 0.0),
        honest_sampled=evaluate(network, processor, "honest", "test", num_scenes, 0.7),
        training=evaluate(network, processor, "training", "test", num_scenes, 0.0),
        questions=evaluate_questions(network, processor, "test", num_scenes),
    )
    path = model_path / "README.md"
    path.write_text(card(making, measured))
    path.chmod(0o644)


def card(making: Making, measured: Measured) -> str:
    return _TEXT.format(
        parameters=f"{making.num_parameters / 1e6:.1f}",
        making=making,
        minutes=f"{making.seconds / 60:.0f}",
        scenes=f"{measured.num_scenes:,}",
        plain_scenes=measured.num_scenes,
        table="\n".join(_rows(measured)),
        lesson_columns=" | ".join(f"{lesson.first:,}" for lesson in making.lessons),
        lesson_rule="---|" * len(making.lessons),
        lessons="\n".join(_lesson_rows(making.lessons)),
        questions="\n".join(
            f"| {_QUESTION_NAMES[kind]} | {_percent(estimate)} |"
            for kind, estimate in sorted(measured.questions.items(), key=lambda one: _ORDER.index(one[0]))
        ),
    )


def _lesson_rows(lessons: Sequence[Lesson]) -> list[str]:
    """One row a setting, one column a lesson."""
    shares = [
        (name, [str(getattr(lesson, name)) for lesson in lessons])
        for name in ("honest_share", "caption_share", "presence_share")
    ]
    noises = [
        (field.name, [str(getattr(lesson.noise, field.name)) for lesson in lessons])
        for field in fields(Noise)
    ]
    return [f"| {name} | {' | '.join(cells)} |" for name, cells in shares + noises]


def _rows(measured: Measured) -> list[str]:
    columns = (measured.honest, measured.honest_sampled, measured.training)
    rows = [
        ("answers with a wrong claim, %", [_percent(one.hallucinated) for one in columns]),
        *(
            (f"{_CLAIM_NAMES[kind]}, %", [_percent(one.wrong[kind]) for one in columns])
            for kind in CLAIM_KINDS
        ),
        ("CHAIR-i, %", [_percent(one.chair_i) for one in columns]),
        ("coverage, %", [_percent(one.coverage) for one in columns]),
        ("unreadable, %", [_percent(one.unreadable) for one in columns]),
        ("words", [_plain(one.words) for one in columns]),
    ]
    return [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value * 100:.1f} [{estimate.low * 100:.1f}, {estimate.high * 100:.1f}]"


def _plain(estimate: Estimate) -> str:
    return f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


_CLAIM_NAMES = {
    "object": "naming an absent object",
    "colour": "with a wrong colour",
    "position": "with a wrong position",
    "number": "with a wrong number",
    "total": "with a wrong total",
    "repeat": "naming an object twice",
    "theme": "with a wrong theme",
}
_QUESTION_NAMES = {
    "present": "Is there ...? It is there",
    "absent": "Is there ...? It is absent, and not typical of the theme",
    "typical": "Is there ...? It is absent, but typical of the theme",
    "yes_no": "All yes/no questions, half of them to be answered yes",
    "colour": "What colour ...?",
    "count": "How many ...?",
    "position": "Where ...?",
}
_ORDER = tuple(_QUESTION_NAMES)

_TEXT = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# The embedded model

A LLaVA of {parameters} million parameters (CLIP vision tower, projector, Llama; half precision) that describes
drawn scenes of 96 x 96 pixels and answers questions about them. It is made to be corrected: it sees well, but its
language was learnt from captions with the faults of machine-written data, so it names what usually goes together
whether it is there or not, and calls what does not belong by the name of what does. Since the scenes' contents are
known exactly, its errors are counted, not judged.

It knows sixteen kinds of object in ten colours on four backgrounds, and nothing else. Other pictures are resized to
96 x 96 pixels and described in these words.

## How it was made

`python -m align.scenes.pretrain` makes it again from nothing: {making.sight_steps} steps in which the vision tower
learns what stands where ({making.sight_scenes:,} scenes), then {making.talk_steps} steps in which the whole model
learns to talk and the faults of its captions become habits ({making.num_conversations:,} conversations, captions and
questions). Training took {minutes} minutes on 2 CPU cores that did other work as well. The scenes are of the train
split alone; no scene's content occurs in two splits.

What the conversations hold, and the faults of their captions, as probabilities:

| from conversation | {lesson_columns} |
|---|{lesson_rule}
{lessons}

*honest_share*: scenes where things stand at will, the others being training-like; *caption_share*: descriptions;
*presence_share*: rounds of brief yes/no questions; the rest are mixed questions. *companion*: an absent object is named
beside the one that it usually goes with; *mistaken*: an object that does not belong to the theme is called one that
does; *typical*: any absent object of the theme is named; *typical_answer*: a question about such an object is answered
yes. The later columns were settled on the development split, when the run had come to their beginning.

## How it measures

On {scenes} scenes of the test split, 95 % bootstrap intervals in brackets. Honest scenes put objects anywhere and
together at will; training-like scenes put together what usually goes together. A wrong claim is any claim about
object, colour, position, number, total or theme that the scene contradicts, or an object told twice. CHAIR-i: invented
objects over all objects named. Coverage: the share of the scene's objects that the answer names. Unreadable: the
parser cannot read a part of the answer, so it is counted as neither right nor wrong.

| | honest, greedy | honest, T = 0.7 | training-like, greedy |
|---|---|---|---|
{table}

Questions about honest scenes, one a scene, greedy:

| question | right, % |
|---|---|
{questions}

The table comes from `python -m align.scenes.evaluate --split test --scenes {plain_scenes}`, with
`--temperature 0.7`, `--distribution training` and `--questions`.

## Limits

It is a measuring instrument, not an assistant. It reads no text, knows no world but its own, and answers any other
question with something from that world.
"""
