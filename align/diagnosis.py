"""What a run's own figures say about it. Pure functions of metrics; knows nothing of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def mean_of_epoch(
    history: Sequence[Mapping[str, float]], epoch: int, names: Sequence[str]
) -> dict[str, float]:
    """The means over the pairs of one epoch: the last step may have had fewer of them."""
    steps = [metrics for metrics in history if metrics["epoch"] == epoch]
    weights = [
        metrics.get("num_batch_pairs", 1) for metrics in steps
    ]  # an earlier Errata's checkpoint has none
    return {name: float(np.average([metrics[name] for metrics in steps], weights=weights)) for name in names}


def chosen_fall(history: Sequence[Mapping[str, float]], epoch: int) -> str | None:
    """A warning if the corrected answers became less likely than they were at the start, which DPO alone can bring
    about (DPO-Positive, arXiv 2402.13228)."""
    change = mean_of_epoch(history, epoch, ["logps/chosen_change"])["logps/chosen_change"]
    if change >= 0:
        return None
    return (
        f"in epoch {epoch} the corrected answers were {-change:.2f} nats less likely than at the start: the run lowers "
        "both answers of a pair; raise objective.anchor_weight or lower learning_rate"
    )


def margin_quartiles(margins: Sequence[float]) -> tuple[float, ...]:
    """The mean reward margin of each quarter of the pairs, from the smallest margins to the largest.

    A mean alone hides the pairs that are not learned behind those that are learned too well (arXiv 2606.19744). A pair
    that two quarters share counts in each by its part.
    """
    quarters = np.repeat(np.sort(np.asarray(margins, dtype=float)), 4).reshape(4, -1)
    return tuple(round(float(mean), 4) for mean in quarters.mean(1))
