"""Two adapters on the same items: how likely they hold the corrected answer, and what they say themselves.

Greedy decoding and teacher forcing only, so that a measurement can be repeated. Decides nothing: see verdict.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from ..adapter import load_adapter
from ..config import AlignmentConfig
from ..examples import Example
from ..logprobs import answer_logps, collate
from ..objective import anchor_loss, answer_score
from ..rendering import Renderer
from .deadline import Deadline
from .decoding import greedy_answers
from .items import Item, by_length, prepare_items
from .measured import ItemMeasurement, Measured, Measurements
from .truth import truth_of
from .words import coverage, is_readable, words


def measure(
    base: str | Path,
    live: Path | None,
    candidate: Path | None,
    held_out: Sequence[Example],
    general: Sequence[Example],
    config: AlignmentConfig,
    is_over: Callable[[], bool] = lambda: False,
    should_pause: Callable[[], bool] = lambda: False,
) -> Measurements:
    """Every item with both adapters; None is the base itself. Memory beside the model is that of one batch.

    Raises `InvalidAdapter`, and `EvaluationFailed` where it takes longer than it may, or `is_over` says that nobody
    waits for it any more. It waits while `should_pause`, which takes none of that time.
    """
    deadline = Deadline(config.gate.max_seconds, is_over, should_pause)
    renderer = Renderer.from_pretrained(base)
    items, unfit = prepare_items([*held_out, *general], renderer)
    with _threads(config.training.num_threads):
        model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
        folders = {"live": live, "candidate": candidate}
        model = load_adapters(model.to(config.training.device), folders)
        evaluator = Evaluator(model, renderer, config, deadline)
        of_live, of_candidate = (
            evaluator.measure(name if folder else None, items) for name, folder in folders.items()
        )
    measured = [
        ItemMeasurement(item.id, item.group, *sides)
        for item, *sides in zip(items, of_live, of_candidate, strict=True)
    ]
    num_held_out = sum(item.rejected is not None for item in items)
    return Measurements(tuple(measured[:num_held_out]), tuple(measured[num_held_out:]), tuple(unfit))


def load_adapters(model: Any, folders: dict[str, Path | None]) -> Any:
    for name, folder in folders.items():
        if folder is not None:
            model = load_adapter(model, folder, name)
    return model.eval()


class Evaluator:
    """Asks one model, with any of its adapters, about items."""

    def __init__(self, model: Any, renderer: Renderer, config: AlignmentConfig, deadline: Deadline) -> None:
        self._model, self._renderer, self._deadline = model, renderer, deadline
        self._config, self._gamma = config.gate, config.training.objective.gamma
        # reading given answers takes the logits, and so the memory, of a training step
        self._num_read = config.training.micro_batch_size

    @torch.inference_mode()
    def measure(self, adapter: str | None, items: Sequence[Item]) -> list[Measured]:
        """In the items' order; `adapter` none is the base."""
        with self._using(adapter):
            answers = by_length(items, self._config.batch_size, self._answers)
            corrected = [item for item in items if item.rejected is not None]
            preferences = iter(by_length(corrected, self._num_read, self._preferences))
        uncorrected = [item for item in items if item.rejected is None]
        divergences = iter(
            by_length(uncorrected, self._num_read, lambda part: self._divergences(adapter, part))
        )
        measured = []
        for item, answer in zip(items, answers, strict=True):
            one = _of_answer(item, answer)
            if item.rejected is None:
                measured.append(replace(one, divergence=next(divergences)))
            else:
                margin, corrected_logp = next(preferences)
                measured.append(replace(one, margin=margin, corrected_logp=corrected_logp))
        return measured

    def _answers(self, items: Sequence[Item]) -> list[str]:
        """An answer twice as long as the longest served one is degenerate already; no need to wait for its end."""
        longest = max(len(item.served.token_ids) for item in items)
        limit = min(self._config.max_new_tokens, 2 * longest + 8)
        prompts = [item.prompt for item in items]
        return greedy_answers(self._model, prompts, self._renderer, limit, self._deadline.check)

    def _preferences(self, items: Sequence[Item]) -> list[tuple[float, float]]:
        """(dense margin, mean log-prob of the corrected answer per token) of each item.

        The margin is always the normalised one, whatever was trained, so that it means the same in every run.
        """
        sides = [item.chosen for item in items] + [item.served for item in items]
        batch = collate([item.prompt for item in items] * 2, sides, self._model.device)
        answers = answer_logps(self._model, batch)
        self._deadline.check()
        scores = answer_score(answers, self._gamma, normalize=True)
        margins = scores[: len(items)] - scores[len(items) :]
        means = -anchor_loss(answers[: len(items)])
        return list(zip(margins.tolist(), means.tolist(), strict=True))

    def _divergences(self, adapter: str | None, items: Sequence[Item]) -> list[float]:
        """KL(base || adapter) per token of each served answer, over the whole vocabulary."""
        if adapter is None:
            return [0.0] * len(items)
        with self._using(None):
            of_base = self._logits(items)
        with self._using(adapter):
            of_adapter = self._logits(items)
        self._deadline.check()
        return [divergence(*rows) for rows in zip(of_base, of_adapter, strict=True)]

    def _logits(self, items: Sequence[Item]) -> list[Tensor]:
        """Those that predict each served answer's tokens: (T, V)."""
        answers = [item.served for item in items]
        batch = collate([item.prompt for item in items], answers, self._model.device)
        output = self._model(**batch.inputs, logits_to_keep=batch.predicts, use_cache=False)
        logits: Tensor = output.logits  # (all T of the batch, V)
        return list(torch.split(logits, [len(answer.token_ids) for answer in answers]))

    @contextmanager
    def _using(self, adapter: str | None) -> Iterator[None]:
        """The base if `adapter` is none, whatever adapters the model has."""
        disabled: AbstractContextManager[Any] = nullcontext()
        if adapter is None:
            disabled = getattr(self._model, "disable_adapter", nullcontext)()
        else:
            self._model.set_adapter(adapter)
        with disabled:
            yield


def divergence(of_base: Tensor, of_adapter: Tensor) -> float:
    """Mean over tokens of sum_v p(v) (log p(v) - log q(v)), in nats; p is the base's. Both are logits (T, V)."""
    base, other = of_base.float().log_softmax(-1), of_adapter.float().log_softmax(-1)
    return float((base.exp() * (base - other)).sum(-1).mean())


def _of_answer(item: Item, answer: str) -> Measured:
    return Measured(
        coverage=coverage(answer, item.undisputed),
        num_words=len(words(answer)),
        is_readable=is_readable(answer),
        returned=tuple((segment.kind, segment.is_in(answer)) for segment in item.segments),
        truth=None if item.scene is None else truth_of(answer, item.scene),
    )


@contextmanager
def _threads(num: int) -> Iterator[None]:
    """The box is shared with serving."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)
