"""How soon a worse version is rolled back, and how often one that is as good: `python -m benchmarks.canary`.

Simulated answers that are corrected, or not, at given rates, judged with the defaults by the test of `serve.evidence`,
after every answer. Knows nothing of servers: the test sees nothing but outcomes.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from serve.evidence import evidence

ALPHA = 0.01 / 2
"""Of one of two tests, corrections and failures, at the default of 0.01 for both."""
NUM_ANSWERS = 1000
RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
RATIOS = (1.0, 1.5, 2.0, 3.0)


def first_breach(rng: np.random.Generator, rate: float, other: float, per_block: int) -> float:
    """After how many of the candidate's answers the evidence is enough; infinite where it never is."""
    failed = list(rng.random(NUM_ANSWERS) < rate)
    failed_others = list(rng.random(NUM_ANSWERS * per_block) < other)

    def is_enough(num: int) -> bool:
        return evidence(failed[:num], failed_others, per_block) >= 1 / ALPHA

    if not is_enough(NUM_ANSWERS):
        return math.inf
    low, high = 1, NUM_ANSWERS  # evidence never falls, so the first place is found by halving
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low


def measure(num_runs: int, per_block: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for other in RATES:
        for ratio in RATIOS:
            breaches = [first_breach(rng, other * ratio, other, per_block) for _ in range(num_runs)]
            found = sorted(one for one in breaches if one < math.inf)
            half = math.ceil(num_runs / 2)
            rows.append(
                {
                    "live_rate": other,
                    "ratio": ratio,
                    "rolled_back": len(found) / num_runs,
                    "median_answers": found[half - 1] if len(found) >= half else None,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="simulations of each case")
    parser.add_argument(
        "--per-block", type=int, default=9, help="answers of the live version for one of the candidate's"
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/canary.json"))
    arguments = parser.parse_args()
    rows = measure(arguments.runs, arguments.per_block)
    table = Table("corrected of the live", "times as often", "rolled back", "median answers until then")
    for row in rows:
        median = row["median_answers"]
        table.add_row(
            f"{row['live_rate']:.0%}",
            f"{row['ratio']:g}",
            f"{row['rolled_back']:.1%}",
            "" if median is None else str(median),
        )
    Console().print(table)
    facts = {
        "alpha": ALPHA,
        "num_answers": NUM_ANSWERS,
        "per_block": arguments.per_block,
        "num_runs": arguments.runs,
    }
    arguments.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
