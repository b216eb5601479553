"""The board's panels, a line or two each: a title, a unit of Grafana's, and queries with their legends."""

from __future__ import annotations

from dataclasses import dataclass

from .queries import (
    Quantile,
    Query,
    Ratio,
    change_in_an_hour,
    newest,
    of_each_replica,
    rate,
    recent,
    recorded,
    total,
)


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    queries: tuple[tuple[Query, str], ...]  # with legends
    description: str = ""
    is_stat: bool = False  # the newest value large, not its course


def panel(
    title: str, unit: str, *queries: tuple[Query, str], words: str = "", is_stat: bool = False
) -> Panel:
    return Panel(title, unit, queries, words, is_stat)


def quantiles(metric: str) -> tuple[tuple[Query, str], ...]:
    """Of all versions together, the middle and the slow ends."""
    return tuple((Quantile(q, metric), f"p{round(100 * q)}") for q in (0.5, 0.95, 0.99))


REQUEST_ERRORS = Ratio(
    recent("errata_requests_total", status="5.."),
    recent("errata_requests_total"),
    "errata:request_errors:ratio_rate5m",
)
FAILED_RESPONSES = Ratio(
    recent("errata_failed_responses_total", by=("adapter",)),
    recent("errata_failed_responses_total", "errata_responses_total", by=("adapter",)),
    "errata:failed_responses:ratio_rate5m",
)
SEQUENCES_WAITING = Ratio(
    recorded("sum", "errata_sequences_waiting"),
    recorded("sum", "errata_sequences_waiting_limit"),
    "errata:sequences_waiting:ratio",
)
CORRECTED_RESPONSES = Ratio(
    recorded("max", "errata_corrected_responses", "adapter"),
    recorded("max", "errata_recorded_responses", "adapter"),
    "errata:corrected_responses:ratio",
)
DISK_FREE = Ratio(of_each_replica("errata_disk_free_bytes"), of_each_replica("errata_disk_size_bytes"))

ROWS: dict[str, tuple[Panel, ...]] = {
    "Service": (
        panel("Requests by status", "reqps", (rate("errata_requests_total", "status"), "{{status}}")),
        panel("Requests by route", "reqps", (rate("errata_requests_total", "route"), "{{route}}")),
        panel(
            "Failures",
            "percentunit",
            (REQUEST_ERRORS, "requests with a 5xx"),
            (FAILED_RESPONSES, "answers of {{adapter}}"),
        ),
        panel("Time to the first token", "s", *quantiles("errata_first_token_seconds")),
        panel("Time to the last byte", "s", *quantiles("errata_request_seconds")),
        panel(
            "Time to put an answer on record",
            "s",
            *quantiles("errata_record_seconds"),
            words="Its last words wait for it: a slow disk or database shows here first.",
        ),
        panel("Requests under way", "short", (total("errata_requests_in_progress"), "under way")),
        panel(
            "Replicas",
            "short",
            (newest("errata_replicas"), "answer"),
            (newest("errata_replicas_expected"), "expected"),
        ),
        panel(
            "Disk of the state folder",
            "percentunit",
            (DISK_FREE, "free, {{replica}}"),
        ),
    ),
    "Engine": (
        panel(
            "Sequences",
            "short",
            (total("errata_sequences_running"), "running"),
            (total("errata_sequences_waiting"), "waiting"),
            (total("errata_sequence_slots"), "slots"),
        ),
        panel(
            "How full the queue is",
            "percentunit",
            (SEQUENCES_WAITING, "waiting, of what may wait"),
        ),
        panel(
            "Tokens a second",
            "short",
            (rate("errata_generated_tokens_total"), "answers"),
            (rate("errata_prompt_tokens_total"), "prompts"),
        ),
        panel(
            "Prompts' tokens: read, or kept from a prompt before",
            "short",
            (rate("errata_read_prompt_tokens_total", "source"), "{{source}}"),
        ),
        panel("From one token to the next", "s", *quantiles("errata_token_seconds")),
        panel("Memory", "bytes", (of_each_replica("errata_resident_memory_bytes"), "{{replica}}")),
    ),
    "Corrections": (
        panel("Corrections by status", "short", (newest("errata_corrections", "status"), "{{status}}")),
        panel(
            "Corrections an hour",
            "short",
            (change_in_an_hour("errata_corrections", "status"), "corrections"),
        ),
        panel(
            "Answers that are corrected",
            "percentunit",
            (CORRECTED_RESPONSES, "{{adapter}}"),
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
            (newest("errata_gate_change", "figure", end="estimate"), "{{figure}}"),
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
            (newest("errata_rollout_adapter_info", "role", "version"), "{{role}}: {{version}}"),
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
        panel("Versions loaded", "short", (of_each_replica("errata_adapters_resident"), "{{replica}}")),
    ),
}
GENERATION = newest("errata_rollout_generation")  # the page marks where it changes
