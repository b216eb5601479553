/** The board's panels, as `python -m deploy.grafana.board` writes them; what to change is deploy/grafana/panels.py. */

export const ROWS = [
  {
    "title": "Service",
    "panels": [
      {"title": "Requests by status", "unit": "reqps", "queries": [{"legend": "{{status}}", "take": "rate", "metrics": ["errata_requests_total"], "by": ["status"], "window_s": 60}]},
      {"title": "Requests by route", "unit": "reqps", "queries": [{"legend": "{{route}}", "take": "rate", "metrics": ["errata_requests_total"], "by": ["route"], "window_s": 60}]},
      {"title": "Failures", "unit": "percentunit", "queries": [{"legend": "requests with a 5xx", "take": "ratio", "part": {"take": "rate", "metrics": ["errata_requests_total"], "by": [], "where": {"status": "5.."}, "window_s": 300}, "whole": {"take": "rate", "metrics": ["errata_requests_total"], "by": [], "window_s": 300}}, {"legend": "answers of {{adapter}}", "take": "ratio", "part": {"take": "rate", "metrics": ["errata_failed_responses_total"], "by": ["adapter"], "window_s": 300}, "whole": {"take": "rate", "metrics": ["errata_failed_responses_total", "errata_responses_total"], "by": ["adapter"], "window_s": 300}}]},
      {"title": "Time to the first token", "unit": "s", "queries": [{"legend": "p50", "take": "quantile", "q": 0.5, "of": {"take": "rate", "metrics": ["errata_first_token_seconds_bucket"], "by": ["le"], "window_s": 60}}, {"legend": "p95", "take": "quantile", "q": 0.95, "of": {"take": "rate", "metrics": ["errata_first_token_seconds_bucket"], "by": ["le"], "window_s": 60}}, {"legend": "p99", "take": "quantile", "q": 0.99, "of": {"take": "rate", "metrics": ["errata_first_token_seconds_bucket"], "by": ["le"], "window_s": 60}}]},
      {"title": "Time to the last byte", "unit": "s", "queries": [{"legend": "p50", "take": "quantile", "q": 0.5, "of": {"take": "rate", "metrics": ["errata_request_seconds_bucket"], "by": ["le"], "window_s": 60}}, {"legend": "p95", "take": "quantile", "q": 0.95, "of": {"take": "rate", "metrics": ["errata_request_seconds_bucket"], "by": ["le"], "window_s": 60}}, {"legend": "p99", "take": "quantile", "q": 0.99, "of": {"take": "rate", "metrics": ["errata_request_seconds_bucket"], "by": ["le"], "window_s": 60}}]},
      {"title": "Time to put an answer on record", "unit": "s", "words": "Its last words wait for it: a slow disk or database shows here first.", "queries": [{"legend": "p50", "take": "quantile", "q": 0.5, "of": {"take": "rate", "metrics": ["errata_record_seconds_bucket"], "by": ["le"], "window_s": 60}}, {"legend": "p95", "take": "quantile", "q": 0.95, "of": {"take": "rate", "metrics": ["errata_record_seconds_bucket"], "by": ["le"], "window_s": 60}}, {"legend": "p99", "take": "quantile", "q": 0.99, "of": {"take": "rate", "metrics": ["errata_record_seconds_bucket"], "by": ["le"], "window_s": 60}}]},
      {"title": "Requests under way", "unit": "short", "queries": [{"legend": "under way", "take": "sum", "metrics": ["errata_requests_in_progress"], "by": []}]},
      {"title": "Replicas", "unit": "short", "queries": [{"legend": "answer", "take": "max", "metrics": ["errata_replicas"], "by": []}, {"legend": "expected", "take": "max", "metrics": ["errata_replicas_expected"], "by": []}]},
      {"title": "Disk of the state folder", "unit": "percentunit", "queries": [{"legend": "free, {{replica}}", "take": "ratio", "part": {"take": "max", "metrics": ["errata_disk_free_bytes"], "by": ["replica"]}, "whole": {"take": "max", "metrics": ["errata_disk_size_bytes"], "by": ["replica"]}}]},
    ],
  },
  {
    "title": "Engine",
    "panels": [
      {"title": "Sequences", "unit": "short", "queries": [{"legend": "running", "take": "sum", "metrics": ["errata_sequences_running"], "by": []}, {"legend": "waiting", "take": "sum", "metrics": ["errata_sequences_waiting"], "by": []}, {"legend": "slots", "take": "sum", "metrics": ["errata_sequence_slots"], "by": []}]},
      {"title": "How full the queue is", "unit": "percentunit", "queries": [{"legend": "waiting, of what may wait", "take": "ratio", "part": {"take": "sum", "metrics": ["errata_sequences_waiting"], "by": []}, "whole": {"take": "sum", "metrics": ["errata_sequences_waiting_limit"], "by": []}}]},
      {"title": "Tokens a second", "unit": "short", "queries": [{"legend": "answers", "take": "rate", "metrics": ["errata_generated_tokens_total"], "by": [], "window_s": 60}, {"legend": "prompts", "take": "rate", "metrics": ["errata_prompt_tokens_total"], "by": [], "window_s": 60}]},
      {"title": "Prompts' tokens: read, or kept from a prompt before", "unit": "short", "queries": [{"legend": "{{source}}", "take": "rate", "metrics": ["errata_read_prompt_tokens_total"], "by": ["source"], "window_s": 60}]},
      {"title": "From one token to the next", "unit": "s", "queries": [{"legend": "p50", "take": "quantile", "q": 0.5, "of": {"take": "rate", "metrics": ["errata_token_seconds_bucket"], "by": ["le"], "window_s": 60}}, {"legend": "p95", "take": "quantile", "q": 0.95, "of": {"take": "rate", "metrics": ["errata_token_seconds_bucket"], "by": ["le"], "window_s": 60}}, {"legend": "p99", "take": "quantile", "q": 0.99, "of": {"take": "rate", "metrics": ["errata_token_seconds_bucket"], "by": ["le"], "window_s": 60}}]},
      {"title": "Memory", "unit": "bytes", "queries": [{"legend": "{{replica}}", "take": "max", "metrics": ["errata_resident_memory_bytes"], "by": ["replica"]}]},
    ],
  },
  {
    "title": "Corrections",
    "panels": [
      {"title": "Corrections by status", "unit": "short", "queries": [{"legend": "{{status}}", "take": "max", "metrics": ["errata_corrections"], "by": ["status"]}]},
      {"title": "Corrections an hour", "unit": "short", "queries": [{"legend": "corrections", "take": "change", "metrics": ["errata_corrections"], "by": [], "window_s": 3600}]},
      {"title": "Answers that are corrected", "unit": "percentunit", "words": "Of all that each version gave. A young version looks better than it is: corrections come later.", "queries": [{"legend": "{{adapter}}", "take": "ratio", "part": {"take": "max", "metrics": ["errata_corrected_responses"], "by": ["adapter"]}, "whole": {"take": "max", "metrics": ["errata_recorded_responses"], "by": ["adapter"]}}]},
      {"title": "Quarantine by reason", "unit": "short", "queries": [{"legend": "{{reason}}", "take": "max", "metrics": ["errata_quarantined_corrections"], "by": ["reason"]}]},
      {"title": "Until the next run", "unit": "short", "queries": [{"legend": "new corrections", "take": "max", "metrics": ["errata_new_corrections"], "by": []}, {"legend": "needed", "take": "max", "metrics": ["errata_new_corrections_needed"], "by": []}]},
    ],
  },
  {
    "title": "Training and gate",
    "panels": [
      {"title": "Runs by status", "unit": "short", "queries": [{"legend": "{{status}}", "take": "max", "metrics": ["errata_runs"], "by": ["status"]}]},
      {"title": "Steps of the newest run", "unit": "short", "queries": [{"legend": "done", "take": "max", "metrics": ["errata_training_step"], "by": []}, {"legend": "in all", "take": "max", "metrics": ["errata_training_steps"], "by": []}]},
      {"title": "Loss", "unit": "short", "queries": [{"legend": "loss", "take": "max", "metrics": ["errata_training_loss"], "by": []}]},
      {"title": "Rewards", "unit": "short", "queries": [{"legend": "margin", "take": "max", "metrics": ["errata_training_reward_margin"], "by": []}, {"legend": "accuracy", "take": "max", "metrics": ["errata_training_reward_accuracy_ratio"], "by": []}]},
      {"title": "Corrected answers, against the start of the run", "unit": "short", "words": "Below zero the run makes the corrected answers less likely.", "queries": [{"legend": "nats", "take": "max", "metrics": ["errata_training_chosen_logps_change"], "by": []}]},
      {"title": "What the gate measured last", "unit": "short", "is_stat": true, "queries": [{"legend": "{{figure}}", "take": "max", "metrics": ["errata_gate_change"], "by": ["figure"], "where": {"end": "estimate"}}]},
      {"title": "How long the last judged run took", "unit": "s", "queries": [{"legend": "training", "take": "max", "metrics": ["errata_training_seconds"], "by": []}, {"legend": "gate", "take": "max", "metrics": ["errata_gate_seconds"], "by": []}]},
    ],
  },
  {
    "title": "Adapters",
    "panels": [
      {"title": "Who answers", "unit": "short", "is_stat": true, "queries": [{"legend": "{{role}}: {{version}}", "take": "max", "metrics": ["errata_rollout_adapter_info"], "by": ["role", "version"]}]},
      {"title": "Answers by version", "unit": "reqps", "queries": [{"legend": "{{adapter}}", "take": "rate", "metrics": ["errata_responses_total"], "by": ["adapter"], "window_s": 60}]},
      {"title": "Candidate's share", "unit": "percentunit", "queries": [{"legend": "share", "take": "max", "metrics": ["errata_rollout_candidate_share_ratio"], "by": []}]},
      {"title": "Generation", "unit": "short", "queries": [{"legend": "in force", "take": "max", "metrics": ["errata_rollout_generation"], "by": []}, {"legend": "{{replica}}", "take": "max", "metrics": ["errata_replica_generation"], "by": ["replica"]}]},
      {"title": "Time from proposal to switch", "unit": "s", "queries": [{"legend": "the one in force", "take": "max", "metrics": ["errata_rollout_switch_seconds"], "by": []}]},
      {"title": "Versions by status", "unit": "short", "queries": [{"legend": "{{status}}", "take": "max", "metrics": ["errata_adapters"], "by": ["status"]}]},
      {"title": "Rollouts", "unit": "short", "queries": [{"legend": "{{status}}", "take": "max", "metrics": ["errata_rollouts"], "by": ["status"]}]},
      {"title": "Versions loaded", "unit": "short", "queries": [{"legend": "{{replica}}", "take": "max", "metrics": ["errata_adapters_resident"], "by": ["replica"]}]},
    ],
  },
];

export const GENERATION = {"take": "max", "metrics": ["errata_rollout_generation"], "by": []};
