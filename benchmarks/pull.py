"""Which tokens dense DPO pulls at, before and after training: why it stops where it stops. `--help` says how.

A token's pull is its weight in the score times 1 - p: how far the loss can still move its logit. What chosen and
rejected answers have in common cancels out in sums, but not in the paper's form, where each side has its own N.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForImageTextToText
from transformers.utils import logging

from align.adapter import attach_adapter
from align.config import ObjectiveConfig, TrainingConfig
from align.dataset import PreparedPair, prepare_pairs
from align.objective import AnswerLogps
from align.pairs import Answer, Pair
from align.rendering import Renderer
from align.scenes import MODEL_PATH
from align.steps import TrainingRun

from .scenes import simulated_corrections

CLASSES = ("common", "first corrected", "other corrected", "unchanged after")
"""Of tokens: before the answers part; the first of each corrected stretch, which decides; its others; all the rest."""
Pull = dict[tuple[str, str], tuple[float, float]]
"""By side and class: share of all pull, and mean log-prob."""


def main() -> None:
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    objective = ObjectiveConfig(
        preference_weight=1.0,
        beta=options.beta,
        gamma=options.gamma,
        normalize=not options.sums,
        anchor_weight=options.anchor,
    )
    config = TrainingConfig(objective=objective, learning_rate=options.learning_rate)
    run = prepared_run(options.model, options.corrections, config)
    before = pull(run)
    for metrics in run.steps():
        last = metrics
    Console().print(_table(before, pull(run)))
    names = ("rewards/margins", "logps/chosen_change", "logps/rejected")
    Console().print({name: round(last[name], 2) for name in names}, highlight=False)


def classes(answer: Answer, num_common: int) -> Iterator[str]:
    """The class of each token of one side, of which the first `num_common` are the other's too."""
    was_corrected = False
    for place, is_corrected in enumerate(answer.is_corrected):
        if place < num_common:
            yield "common"
        elif is_corrected:
            yield "other corrected" if was_corrected else "first corrected"
        else:
            yield "unchanged after"
        was_corrected = is_corrected


def num_common(pair: Pair) -> int:
    both = zip(pair.chosen.token_ids, pair.rejected.token_ids, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: tokens[0] == tokens[1], both))


@torch.no_grad()
def pull(run: TrainingRun) -> Pull:
    run.model.eval()
    pulls: defaultdict[tuple[str, str], float] = defaultdict(float)
    logps: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for pair in run.pairs:
        for side, answer, of in zip(("chosen", "rejected"), _sides(pair), run.forward([pair]), strict=True):
            for name, weight, logp in zip(
                classes(answer, num_common(pair.pair)), *_tokens(of, run), strict=False
            ):
                pulls[side, name] += weight * (1 - torch.exp(torch.tensor(logp)).item())
                logps[side, name].append(logp)
    total = sum(pulls.values())
    return {key: (pulls[key] / total, sum(logps[key]) / len(logps[key])) for key in pulls}


def _sides(pair: PreparedPair) -> tuple[Answer, Answer]:
    return pair.pair.chosen, pair.pair.rejected


def _tokens(of: AnswerLogps, run: TrainingRun) -> tuple[list[float], list[float]]:
    """Weight and log-prob of each token of the batch's only answer."""
    objective = run.config.objective
    weights = of.is_answer * (1 + (objective.gamma - 1) * of.is_corrected.float())
    if objective.normalize:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights[0].tolist(), of.logps[0].tolist()


def prepared_run(model: str, num_corrections: int, config: TrainingConfig) -> TrainingRun:
    examples = [example for example, _ in simulated_corrections(model, num_corrections)]
    torch.manual_seed(config.seed)
    network: Any = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    renderer = Renderer.from_pretrained(model)
    pairs, _ = prepare_pairs(examples, renderer, config.max_length, config.objective)
    return TrainingRun(attach_adapter(network, config.lora), pairs, config)


def _table(before: Pull, after: Pull) -> Table:
    table = Table("side", "tokens", "pull before", "after", "mean log-prob before", "after")
    for side in ("chosen", "rejected"):
        for name in CLASSES:
            if (side, name) in before:
                (old, old_logp), (new, new_logp) = before[side, name], after[side, name]
                table.add_row(side, name, f"{old:.1%}", f"{new:.1%}", f"{old_logp:.2f}", f"{new_logp:.2f}")
        table.add_section()
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pull", description=__doc__)
    parser.add_argument("--corrections", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--beta", type=float, default=0.5)
    parser.add_argument("--gamma", type=float, default=5.0)
    parser.add_argument("--anchor", type=float, default=0.0, help="weight of the anchor")
    parser.add_argument("--sums", action="store_true", help="scores that are not divided by N")
    parser.add_argument("--model", default=str(MODEL_PATH), help="folder of the model")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
