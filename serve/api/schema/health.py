"""How the server stands."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class HealthAnswer(BaseModel):
    status: Literal["ok"] = "ok"


class ReadinessAnswer(BaseModel):
    status: Literal["ready", "behind", "failed"] = Field(
        description="`failed`: its engine works no more, and the replica is about to be replaced"
    )
    generation: int = Field(description="Of the rollout in force")
    live: str = Field(description="The version in force")
    replica: str
    engine: dict[str, Any] = Field(description="How it runs: device, dtype, threads and the like")


class MetricsTarget(BaseModel):
    """One replica, as Prometheus's HTTP service discovery reads it."""

    targets: list[str] = Field(description="host:port")
    labels: dict[str, str]
