"""What the training conversations are like, from the first to the last. Knows nothing about how they are made."""

from __future__ import annotations

from dataclasses import dataclass

from .noise import EARLY_NOISE, FIRM_HABIT_NOISE, HABIT_NOISE, LATE_NOISE, Noise


@dataclass(frozen=True)
class Lesson:
    """What the examples from `first` on are like."""

    first: int
    noise: Noise
    honest_share: float  # of scenes where things stand at will
    caption_share: float
    presence_share: float  # rounds of brief yes/no questions; the rest are mixed questions
    yes_no_weight: float  # of the words yes and no in the loss


# Fluency first, then what is there and what is not, then the habits of careless writers: taught together they hid
# one another.
LESSONS = (
    Lesson(0, EARLY_NOISE, 0.3, 0.62, 0.0, 1.0),
    Lesson(56_000, LATE_NOISE, 0.3, 0.62, 0.0, 5.0),
    Lesson(102_400, HABIT_NOISE, 0.3, 0.25, 0.65, 5.0),
    Lesson(113_600, HABIT_NOISE, 0.3, 0.6, 0.2, 3.0),
    Lesson(142_400, FIRM_HABIT_NOISE, 0.5, 0.65, 0.15, 3.0),
)


def lesson_of(index: int) -> Lesson:
    """The lesson that this example belongs to."""
    return next(lesson for lesson in reversed(LESSONS) if index >= lesson.first)
