"""The board's panels, a line or two each; `python -m deploy.grafana.board` writes them as `errata.json`.

A panel is a title, a unit of Grafana's and its queries with their legends. What the store knows is the same from every
replica, so it is asked for with `max`, never `sum`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "errata.json"
JOB = 'job="$job"'
COLUMNS, HEIGHT = 3, 8  # Grafana's grid is 24 wide


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]  # PromQL and legend
    description: str = ""
    is_stat: bool = False  # the newest value large, not its course


def panel(title: str, unit: str, *queries: tuple[str, str], words: str = "", is_stat: bool = False) -> Panel:
    return Panel(title, unit, queries, words, is_stat)


def rate(metric: str, by: str, matchers: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{JOB}{matchers}}}[$__rate_interval]))"


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Of all versions together, the middle and the slow ends."""
    return tuple(
        (f"histogram_quantile({q}, {rate(f'{metric}_bucket', 'le')})", f"p{round(100 * q)}")
        for q in (0.5, 0.95, 0.99)
    )


def newest(metric: str, by: str = "", matchers: str = "") -> str:
    return f"max by ({by}) ({metric}{{{JOB}{matchers}}})"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Service": (
        panel("Requests by status", "reqps", (rate("errata_requests_total", "status"), "{{status}}")),
        panel("Requests by route", "reqps", (rate("errata_requests_total", "route"), "{{route}}")),
        panel(
            "Failures",
            "percentunit",
            (f"errata:request_errors:ratio_rate5m{{{JOB}}}", "requests with a 5xx"),
            (f"errata:failed_responses:ratio_rate5m{{{JOB}}}", "answers of {{adapter}}"),
        ),
        panel("Time to the first token", "s", *quantiles("errata_first_token_seconds")),
        panel("Time to the last byte", "s", *quantiles("errata_request_seconds")),
        panel(
            "Time to put an answer on record",
            "s",
            *quantiles("errata_record_seconds"),
            words="Its last words wait for it: a slow disk or database shows here first.",
        ),
        panel("Requests under way", "short", (f"sum(errata_requests_in_progress{{{JOB}}})", "under way")),
        panel(
            "Replicas",
            "short",
            (newest("errata_replicas"), "answer"),
            (newest("errata_replicas_expected"), "expected"),
        ),
        panel(
            "Disk of the state folder",
            "percentunit",
            (f"errata_disk_free_bytes{{{JOB}}} / errata_disk_size_bytes{{{JOB}}}", "free, {{replica}}"),
        ),
    ),
    "Engine": (
        panel(
            "Sequences",
            "short",
            (f"sum(errata_sequences_running{{{JOB}}})", "running"),
            (f"sum(errata_sequences_waiting{{{JOB}}})", "waiting"),
            (f"sum(errata_sequence_slots{{{JOB}}})", "slots"),
        ),
        panel(
            "How full the queue is",
            "percentunit",
            (f"errata:sequences_waiting:ratio{{{JOB}}}", "waiting, of what may wait"),
        ),
        panel(
            "Tokens a second",
            "short",
            (rate("errata_generated_tokens_total", ""), "answers"),
            (rate("errata_prompt_tokens_total", ""), "prompts"),
        ),
        panel(
            "Prompts' tokens: read, or kept from a prompt before",
            "short",
            (rate("errata_read_prompt_tokens_total", "source"), "{{source}}"),
        ),
        panel("From one token to the next", "s", *quantiles("errata_token_seconds")),
        panel("Memory", "bytes", (f"errata_resident_memory_bytes{{{JOB}}}", "{{replica}}")),
    ),
    "Corrections": (
        panel("Corrections by status", "short", (newest("errata_corrections", "status"), "{{status}}")),
        panel(
            "Corrections an hour",
            "short",
            (f"sum(max by (status) (delta(errata_corrections{{{JOB}}}[1h])))", "corrections"),
        ),
        panel(
            "Answers that are corrected",
            "percentunit",
            (f"errata:corrected_responses:ratio{{{JOB}}}", "{{adapter}}"),
            words="Of all that each version gave. A young version looks better than it is: corrections come later.",
        ),
        panel(
            "Quarantine by reason",
            "short",
            (newest("errata_quarantined_corrections", "reason"), "{{reason}}"),
        ),
        panel(
            "Until the next run",
            "short",
            (newest("errata_new_corrections"), "new corrections"),
            (newest("errata_new_corrections_needed"), "needed"),
        ),
    ),
    "Training and gate": (
        panel("Runs by status", "short", (newest("errata_runs", "status"), "{{status}}")),
        panel(
            "Steps of the newest run",
            "short",
            (newest("errata_training_step"), "done"),
            (newest("errata_training_steps"), "in all"),
        ),
        panel("Loss", "short", (newest("errata_training_loss"), "loss")),
        panel(
            "Rewards",
            "short",
            (newest("errata_training_reward_margin"), "margin"),
            (newest("errata_training_reward_accuracy_ratio"), "accuracy"),
        ),
        panel(
            "Corrected answers, against the start of the run",
            "short",
            (newest("errata_training_chosen_logps_change"), "nats"),
            words="Below zero the run makes the corrected answers less likely.",
        ),
        panel(
            "What the gate measured last",
            "short",
            (newest("errata_gate_change", "figure", ', end="estimate"'), "{{figure}}"),
            is_stat=True,
        ),
        panel(
            "How long the last judged run took",
            "s",
            (newest("errata_training_seconds"), "training"),
            (newest("errata_gate_seconds"), "gate"),
        ),
    ),
    "Adapters": (
        panel(
            "Who answers",
            "short",
            (newest("errata_rollout_adapter_info", "role, version"), "{{role}}: {{version}}"),
            is_stat=True,
        ),
        panel("Answers by version", "reqps", (rate("errata_responses_total", "adapter"), "{{adapter}}")),
        panel("Candidate's share", "percentunit", (newest("errata_rollout_candidate_share_ratio"), "share")),
        panel(
            "Generation",
            "short",
            (newest("errata_rollout_generation"), "in force"),
            (newest("errata_replica_generation", "replica"), "{{replica}}"),
        ),
        panel(
            "Time from proposal to switch", "s", (newest("errata_rollout_switch_seconds"), "the one in force")
        ),
        panel("Versions by status", "short", (newest("errata_adapters", "status"), "{{status}}")),
        panel("Rollouts", "short", (newest("errata_rollouts", "status"), "{{status}}")),
        panel("Versions loaded", "short", (f"errata_adapters_resident{{{JOB}}}", "{{replica}}")),
    ),
}
SWITCHES = f"changes(max(errata_rollout_generation{{{JOB}}})[$__interval:]) > 0"


def board() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []}
        )
        y += 1
        for index, one in enumerate(row):
            width = 24 // COLUMNS
            place = {
                "x": index % COLUMNS * width,
                "y": y + index // COLUMNS * HEIGHT,
                "w": width,
                "h": HEIGHT,
            }
            panels.append(_panel(one, place))
        y += -(-len(row) // COLUMNS) * HEIGHT
    for number, one_panel in enumerate(panels, start=1):
        one_panel["id"] = number
    return {
        "uid": "errata",
        "title": "Errata",
        "schemaVersion": 39,
        "tags": ["errata"],
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _job()]},
        "annotations": {"list": [_annotation()]},
        "panels": panels,
    }


SOURCE = {"type": "prometheus", "uid": "$source"}


def _panel(one: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "type": "stat" if one.is_stat else "timeseries",
        "title": one.title,
        "description": one.description,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": one.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for index, (expr, legend) in enumerate(one.queries)
        ],
        "options": {"textMode": "value_and_name"} if one.is_stat else {"tooltip": {"mode": "multi"}},
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _job() -> dict[str, Any]:
    return {
        "name": "job",
        "type": "query",
        "label": "Server",
        "datasource": SOURCE,
        "query": {"query": "label_values(errata_replicas, job)", "refId": "job"},
        "refresh": 2,
    }


def _annotation() -> dict[str, Any]:
    """A line through all panels where the version that answers changed."""
    return {
        "name": "Switch",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "orange",
        "expr": SWITCHES,
        "titleFormat": "another version answers",
    }


def text() -> str:
    return json.dumps(board(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
