"""Log-probs of both answers of pairs under a model, in one pass. Decides how to compute them, not what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .dataset import PreparedPair
from .logprobs import answer_logps, collate
from .objective import AnswerLogps


class PairForward:
    """Scores pairs with the model that it was made for, whatever adapter is on at that moment."""

    def __init__(self, model: Any, device: str) -> None:
        self._model, self._device = model, device

    def __call__(self, pairs: Sequence[PreparedPair]) -> tuple[AnswerLogps, AnswerLogps]:
        """The chosen answers and the rejected ones."""
        answers = [pair.pair.chosen for pair in pairs] + [pair.pair.rejected for pair in pairs]
        both = answer_logps(self._model, collate([pair.prompt for pair in pairs] * 2, answers, self._device))
        return both[: len(pairs)], both[len(pairs) :]
