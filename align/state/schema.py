"""The tables as queries see them. `migrations` makes them; a test holds the two together.

Times are seconds since the epoch. Rows are written once; what changes is a status and what belongs to it.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Integer, MetaData, Table
from sqlalchemy import String as AnyString

from .nul import NulSafe

String = AnyString().with_variant(NulSafe(), "postgresql")

metadata = MetaData()

responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    Column("created", Float, nullable=False),
    Column("status", String, nullable=False),  # kept | expired | erased
    Column("model", String, nullable=False),
    Column("adapter", String, nullable=False),
    Column("conversation", JSON, nullable=False),
    Column("sampling", JSON, nullable=False),
    Column("text", String, nullable=False),
    Column("token_ids", JSON, nullable=False),
    Column("finish_reason", String, nullable=False),
    Column("num_prompt_tokens", Integer, nullable=False),
    Column("timings", JSON, nullable=False),
    Column("key_id", String, nullable=False),
    Column("user", String),
    Column("metadata", JSON, nullable=False),
    Column("generation", Integer),
)

failures = Table(
    "failures",
    metadata,
    Column("id", String, primary_key=True),
    Column("created", Float, nullable=False),
    Column("adapter", String, nullable=False),
    Column("generation", Integer),
    Column("reason", String, nullable=False),
)

response_images = Table(
    "response_images",
    metadata,
    Column("response_id", String, primary_key=True),
    Column("sha256", String, primary_key=True),
)

claims = Table(
    "claims",
    metadata,
    Column("response_id", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("holder", String, nullable=False),
    Column("expires", Float, nullable=False),
)

images_to_remove = Table(
    "images_to_remove",
    metadata,
    Column("sha256", String, primary_key=True),
)

corrections = Table(
    "corrections",
    metadata,
    Column("id", String, primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("status", String, nullable=False),  # accepted | quarantined | rejected | nothing_wrong | erased
    Column("response_id", String, nullable=False),
    Column("corrected_text", String, nullable=False),
    Column("spans", JSON, nullable=False),
    Column("author", String),
    Column("key_id", String, nullable=False),
    Column("idempotency_key", String),
    Column("body_sha256", String, nullable=False),
    Column("source", String, nullable=False),
    Column("reason", String),
    Column("questioned", JSON, nullable=False),
    Column("reviewed", Float),
    Column("reviewer", String),
    Column("effective_sequence", Integer, nullable=False),
)

insertions = Table(
    "insertions",
    metadata,
    Column("correction_id", String, primary_key=True),
    Column("phrase", String, primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("key_id", String, nullable=False),
    Column("source", String, nullable=False),
    Column("image_group", String, nullable=False),
    Column("is_reviewed", Integer, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("created", Float, nullable=False),
    Column("status", String, nullable=False),  # requested | running | gating, or one of runs.ENDED
    Column("trigger", String, nullable=False),  # count | request | review | erasure
    Column("heartbeat", Float),
    Column("ended", Float),
    Column("manifest", JSON),
    Column("progress", JSON),
    Column("report", JSON),
    Column("reason", String),
    Column("adapter", String),
    Column("attempts", Integer, nullable=False),
    Column("last_sequence", Integer),
    Column("holder", String),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("expires", Float, nullable=False),
)

adapters = Table(
    "adapters",
    metadata,
    Column("version", String, primary_key=True),
    Column("created", Float, nullable=False),
    Column("status", String, nullable=False),  # admitted | refused | held | retired
    Column("digest", String, nullable=False),
    Column("run_id", String, nullable=False),
    Column("blob", String, nullable=False),
    Column("report", JSON, nullable=False),
    Column("tainted", Float),
)

adapters_to_propose = Table(
    "adapters_to_propose",
    metadata,
    Column("version", String, primary_key=True),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("generation", Integer, primary_key=True),
    Column("created", Float, nullable=False),
    Column("status", String, nullable=False),  # preparing | committed | abandoned
    Column("live", String, nullable=False),
    Column("candidate", String),
    Column("share", Float, nullable=False),
    Column("prepare_by", Float, nullable=False),
    Column("effective_at", Float),
    Column("reason", String),
    Column("terms", JSON),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", String, primary_key=True),
    Column("heartbeat", Float, nullable=False),
    Column("url", String, nullable=False),
    Column("prepared", Integer, nullable=False),
    Column("failure", JSON),
    Column("adapters", JSON, nullable=False),
    Column("gap_p95_s", Float),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("created", Float, nullable=False),
    Column("name", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("revoked", Float),
    Column("requests_per_minute", Integer),
    Column("max_concurrent", Integer),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String, primary_key=True),
    Column("created", Float, nullable=False),
    Column("value", String, nullable=False),
)
