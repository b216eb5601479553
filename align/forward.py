"""Log-probs of both answers of pairs under a model, in one pass, with what they have in common computed once.

Decides how to compute them, not what they are for. Sharing is exact; a model whose attention is of another kind is
found out by comparing both ways once, and then reads each answer in a sequence of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .attention import Attention
from .branches import Branches, branched_rows
from .config import ForwardConfig
from .dataset import PreparedPair
from .feature_files import FeatureFiles
from .head import Head
from .image_features import ImageFeatures
from .logprobs import AnswerBatch, answer_logps, collate, collate_targets, join_tensors
from .objective import AnswerLogps
from .pairs import Answer

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.2}
"""Nats by which a token's log-prob may differ between both ways, in each precision."""
UNFIT = (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError)
"""What a model raises that is not made for inputs of this form."""
logger = logging.getLogger(__name__)


class PairForward:
    """Scores pairs with the model that it was made for, whatever adapter is on at that moment.

    `why_apart` says why chosen and rejected answers do not share a sequence; None where they do. The model is in
    evaluation mode while both ways are compared, and afterwards in the mode that it came in.
    """

    def __init__(
        self,
        model: Any,
        pairs: Sequence[PreparedPair],
        config: ForwardConfig,
        feature_files: FeatureFiles | None = None,
    ) -> None:
        """`pairs` are those to come: some are used to see whether sharing is exact for this model."""
        self._model, self._config = model, config
        self._base = getattr(model, "get_base_model", lambda: model)()
        self._images = ImageFeatures(self._base, config.image_cache_bytes, feature_files)
        self._attention = Attention(self._base)
        with _evaluating(model):
            self._head = self._plain_head(pairs[0])
            self.why_apart = self._reason_apart(pairs)
        if self.why_apart and config.share_prefix:
            logger.warning("chosen and rejected answers are read apart: %s", self.why_apart)
        if config.gradient_checkpointing:
            self._base.activation_checkpointing_enable({"use_reentrant": False})

    def __call__(self, pairs: Sequence[PreparedPair]) -> tuple[AnswerLogps, AnswerLogps]:
        """The chosen answers and the rejected ones."""
        both = self._logps(self._apart(pairs) if self.why_apart else self._shared(pairs))
        return both[: len(pairs)], both[len(pairs) :]

    def _logps(self, batch: AnswerBatch) -> AnswerLogps:
        with self._autocast():
            if self._head is None:
                return answer_logps(self._model, batch)
            targets = batch.targets
            logps = self._head.logps(self._hidden(batch), targets.predictors, targets.token_ids)
            return AnswerLogps(logps * targets.is_answer, targets.is_answer, targets.is_corrected)

    def _hidden(self, batch: AnswerBatch) -> Tensor:  # (K, D)
        hidden: Tensor = self._base.base_model(**batch.inputs, use_cache=False)[0]
        return hidden[batch.predicts]

    def _autocast(self) -> torch.autocast:
        is_bfloat16 = self._config.precision == "bfloat16"
        return torch.autocast(self._base.device.type, torch.bfloat16, enabled=is_bfloat16)

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
    def _plain_head(self, pair: PreparedPair) -> Head | None:
        """The output layer on its own, if it gives the logits that the model gives."""
        batch = self._apart([pair])
        try:
            with self._autocast():
                logits = self._model(**batch.inputs, logits_to_keep=batch.predicts, use_cache=False).logits
                tolerance = TOLERANCE[self._config.precision]
                return Head.fitting(self._base, self._hidden(batch), logits, tolerance)
        except UNFIT:
            return None

    @torch.no_grad()
    def _reason_apart(self, pairs: Sequence[PreparedPair]) -> str | None:
        """Compares both ways on the longest pair and on the one with most images."""
        if not self._config.share_prefix:
            return "share_prefix is off"
        if self._attention.why_not:
            return self._attention.why_not
        name = type(self._base).__name__
        longest = max(pairs, key=lambda pair: pair.length)
        for pair in (longest, max(pairs, key=lambda pair: len(pair.prompt.image_ids))):
            apart = self._logps(self._apart([pair]))
            try:
                shared = self._logps(self._shared([pair]))
            except UNFIT as error:
                return f"{name} cannot read them together: {error}"
            difference = float((shared.logps - apart.logps).abs().max())
            if not difference <= TOLERANCE[self._config.precision]:
                return f"{name} gives other log-probs, by up to {difference:.2g}"
        return None


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _answers(pairs: Sequence[PreparedPair]) -> list[Answer]:
    return [pair.pair.chosen for pair in pairs] + [pair.pair.rejected for pair in pairs]
