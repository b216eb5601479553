"""Training and gate: how runs end, how the one under way learns, what the gate measured of the last one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from align.state.runs import ENDED, Runs

from .families import labelled, single

TRAINING = {
    "step": ("errata_training_step", "Steps done"),
    "num_steps": ("errata_training_steps", "Steps to do in all"),
    "loss": ("errata_training_loss", "Loss (TRL's `loss`)"),
    "rewards/margins": ("errata_training_reward_margin", "Reward margin (`rewards/margins`)"),
    "rewards/accuracies": (
        "errata_training_reward_accuracy_ratio",
        "Pairs whose corrected answer is preferred (`rewards/accuracies`)",
    ),
    "logps/chosen": ("errata_training_chosen_logps", "Log-prob of the corrected answers (`logps/chosen`)"),
    "logps/chosen_change": (
        "errata_training_chosen_logps_change",
        "Nats that the corrected answers have gained since the run began; below zero they fall",
    ),
}
"""The figures of a run's progress by their names there."""


def run_figures(runs: Runs) -> Iterable[Metric]:
    statuses = runs.statuses()
    yield labelled("errata_runs", "The last 100 alignment runs by status", "status", Counter(statuses))
    yield labelled(
        "errata_runs_in_a_row", "How many of the last runs ended alike", "status", last_in_a_row(statuses)
    )
    yield single(
        "errata_run_heartbeat_timestamp_seconds",
        "When the run under way was last heard of; none where there is none",
        min(runs.heartbeats(), default=None),
    )
    progress = runs.newest_progress() or {}
    for name, (metric, text) in TRAINING.items():
        yield single(metric, f"{text}, of the newest run", progress.get(name))
    report = runs.newest_report() or {}
    for part in ("training", "gate"):
        seconds = report.get(part, {}).get("seconds")
        yield single(f"errata_{part}_seconds", f"How long the {part} of the last judged run took", seconds)
    yield _gate_change(report.get("gate", {}).get("comparisons", {}))


def last_in_a_row(statuses: Sequence[str]) -> dict[str, int]:
    """The last ended one's status, and how often in a row it came; empty before the first. `statuses` newest first."""
    ended = [status for status in statuses if status in ENDED]
    return {ended[0]: len(list(takewhile(ended[0].__eq__, ended)))} if ended else {}


def _gate_change(comparisons: dict[str, Any]) -> Metric:
    family = GaugeMetricFamily(
        "errata_gate_change",
        "What the gate measured of the last judged run: the change of each figure, and its interval's ends",
        labels=["figure", "end"],
    )
    for figure, comparison in comparisons.items():
        for end in ("low", "estimate", "high"):
            if (value := comparison["change"][end]) is not None:  # what is no number is null in a report
                family.add_metric([figure, end], value)
    return family
