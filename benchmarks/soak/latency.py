"""How long people waited between one promotion and the next: a pure function of what they saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serve.drill.figures import Tail, tail
from serve.drill.load import Seen


@dataclass(frozen=True)
class Period:
    ended_s: float  # since the beginning
    answers: int
    failures: tuple[str, ...]
    first: Tail  # seconds from the question to the first piece of its answer
    gap: Tail  # seconds between two pieces of one answer
    tokens_per_s: float

    def to_json(self) -> dict[str, Any]:
        return {
            "ended_s": self.ended_s,
            "answers": self.answers,
            "failures": list(self.failures),
            "first_seconds": self.first.to_json(),
            "gap_seconds": self.gap.to_json(),
            "tokens_per_s": self.tokens_per_s,
        }


def period(seen: Sequence[Seen], num_tokens: int, ended_s: float, lasted_s: float) -> Period:
    answered = [one for one in seen if one.failure is None]
    return Period(
        ended_s,
        len(answered),
        tuple(one.failure for one in seen if one.failure is not None),
        tail([one.arrivals[0] - one.began for one in answered if one.arrivals]),
        tail([b - a for one in answered for a, b in zip(one.arrivals, one.arrivals[1:], strict=False)]),
        num_tokens / lasted_s,
    )
