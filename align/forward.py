"""Log-probs of both answers of pairs under a model, in one pass, with what they have in common computed once.

Decides how to compute them, not what they are for. Sharing is exact; a model whose attention is of another kind is
found out by comparing both ways once, and then reads each answer in a sequence of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from .attention import Attention
from .branches import Branches, branched_rows
from .config import ForwardConfig
from .dataset import PreparedPair
from .image_features import ImageFeatures
from .logprobs import AnswerBatch, answer_logps, collate, collate_targets, join_tensors
from .objective import AnswerLogps
from .pairs import Answer

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.2}
"""Nats by which a token's log-prob may differ between both ways, in each precision."""
logger = logging.getLogger(__name__)


class PairForward:
    """Scores pairs with the model that it was made for, whatever adapter is on at that moment.

    `why_apart` says why chosen and rejected answers do not share a sequence; None where they do.
    """

    def __init__(self, model: Any, pairs: Sequence[PreparedPair], config: ForwardConfig) -> None:
        """`pairs` are those to come: some are used to see whether sharing is exact for this model."""
        self._model, self._config = model, config
        self._base = getattr(model, "get_base_model", lambda: model)()
        self._images = ImageFeatures(self._base, config.image_cache_bytes)
        self._attention = Attention(self._base)
        self.why_apart: str | None = "share_prefix is off"
        if config.share_prefix:
            self.why_apart = self._attention.why_not or self._difference(pairs)
            if self.why_apart:
                logger.warning("chosen and rejected answers are read apart: %s", self.why_apart)
        if config.gradient_checkpointing:
            self._base.activation_checkpointing_enable({"use_reentrant": False})

    def __call__(self, pairs: Sequence[PreparedPair]) -> tuple[AnswerLogps, AnswerLogps]:
        """The chosen answers and the rejected ones."""
        both = self._logps(self._apart(pairs) if self.why_apart else self._shared(pairs))
        return both[: len(pairs)], both[len(pairs) :]

    def _logps(self, batch: AnswerBatch) -> AnswerLogps:
        is_bfloat16 = self._config.precision == "bfloat16"
        with torch.autocast(self._base.device.type, torch.bfloat16, enabled=is_bfloat16):
            return answer_logps(self._model, batch)

    def _apart(self, pairs: Sequence[PreparedPair]) -> AnswerBatch:
        prompts, features = self._images.replace_pixels([pair.prompt for pair in pairs] * 2)
        batch = collate(prompts, _answers(pairs), self._base.device)
        return replace(batch, inputs=batch.inputs | features)

    def _shared(self, pairs: Sequence[PreparedPair]) -> AnswerBatch:
        device = self._base.device
        prompts, features = self._images.replace_pixels([pair.prompt for pair in pairs])
        rows = branched_rows(
            [prompt.input_ids for prompt in prompts], [Branches.of(pair.pair) for pair in pairs]
        )
        joined = join_tensors(prompts, rows.input_ids.shape[1])
        tensors = {name: tensor.to(device) for name, tensor in joined.items()}
        inputs = tensors | features | self._attention.inputs(rows, prompts)
        targets = collate_targets(_answers(pairs), [*rows.predictors[0], *rows.predictors[1]], device)
        return AnswerBatch(inputs, rows.predicts.to(device), targets)

    @torch.no_grad()
    def _difference(self, pairs: Sequence[PreparedPair]) -> str | None:
        """Why sharing is not exact for the longest pair and for the one with most images, if it is not."""
        probes = (
            max(pairs, key=lambda pair: pair.length),
            max(pairs, key=lambda pair: len(pair.prompt.image_ids)),
        )
        for pair in probes:
            apart = self._logps(self._apart([pair]))
            try:
                shared = self._logps(self._shared([pair]))
            except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
                return f"{type(self._base).__name__} cannot read them together: {error}"
            difference = float((shared.logps - apart.logps).abs().max())
            if not difference <= TOLERANCE[self._config.precision]:
                return f"{type(self._base).__name__} gives other log-probs, by up to {difference:.2g}"
        return None


def _answers(pairs: Sequence[PreparedPair]) -> list[Answer]:
    return [pair.pair.chosen for pair in pairs] + [pair.pair.rejected for pair in pairs]
