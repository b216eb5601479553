"""How many model servers there are, and what each of them takes of the cluster. Imports no torch."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AutoscalingSettings(_Section):
    """Follow the load: from `num_replicas` to `max_replicas`."""

    max_replicas: int = Field(gt=0, description="The most model servers that there may be.")
    target_ongoing_requests: float = Field(
        default=8.0,
        gt=0,
        description="Requests under way in each, on average, that are aimed at; about the sequences that "
        "one decodes at once.",
    )
    upscale_delay_s: float = Field(
        default=15.0, ge=0, description="Seconds of more load before one is added."
    )
    downscale_delay_s: float = Field(
        default=600.0,
        ge=0,
        description="Seconds of less load before one is taken away; it ends its answers first.",
    )


class PlacementSettings(_Section):
    """What one model server takes, and how they are replaced by those of another build or of other settings."""

    num_cpus: float = Field(default=1.0, ge=0, description="Logical CPUs that each asks Ray for.")
    num_gpus: float | None = Field(
        default=None,
        ge=0,
        description="GPUs that each asks Ray for: 1, or a part of one that it shares. With 0 it sees no GPU; none: "
        "one, or an equal part where the cluster has fewer GPUs than model servers.",
    )
    max_surge_percent: int = Field(
        default=100,
        ge=0,
        le=100,
        description="How many more there may be while they are replaced, in percent of them: new ones answer before "
        "old ones go. 0 where the cluster has no room for one more; then old ones stop first.",
    )
    autoscaling: AutoscalingSettings | None = Field(
        default=None, description="How their number follows the load; none: it stays at `num_replicas`."
    )

    def gpus_each(self, num_replicas: int, num_in_cluster: int) -> float:
        """Of `num_in_cluster` GPUs, so many that all model servers find theirs."""
        if self.num_gpus is not None:
            return self.num_gpus
        return 1 / math.ceil(num_replicas / num_in_cluster) if num_in_cluster else 0.0
