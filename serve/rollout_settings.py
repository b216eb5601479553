"""How versions change: the settings of rollouts, and of how a new version is tried and judged. Imports no torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from align.state import Terms


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CanarySettings(_Section):
    """How a new version is tried, and judged by what people correct and what fails. Fixed when it is proposed."""

    share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Part of the people who meet an adapter that the gate admits before all others do; none: all at "
        "once.",
    )
    num_answers: int = Field(
        default=1000,
        gt=0,
        description="Answers without a breach after which a candidate is promoted to everyone, and a version that is "
        "live is no longer compared with the one before.",
    )
    settled_s: float = Field(
        default=600.0,
        ge=0,
        description="Seconds after an answer in which a correction of it counts; it is compared when they are over.",
    )
    alpha: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="The chance that a version that is as good as the other is rolled back, over all looks together.",
    )
    look_s: float = Field(default=5.0, ge=0, description="Seconds between two looks.")

    @property
    def terms(self) -> Terms:
        return Terms(self.alpha, self.settled_s, self.num_answers)


class RolloutSettings(_Section):
    """How all replicas change from one adapter version to another at one moment."""

    poll_s: float = Field(default=0.1, gt=0, description="Seconds between two readings of the desired state.")
    dead_after_s: float = Field(
        default=5.0, gt=0, description="A replica whose heartbeat is older, in seconds, is not waited for."
    )
    prepare_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds for all replicas to load a new version; later, the promotion is abandoned.",
    )
    commit_ahead_s: float = Field(
        default=1.0,
        gt=0,
        description="Seconds from the decision to the switch. A reading of the desired state is trusted for a quarter "
        "of it, so at least four polls; the rest is for the decision to reach the disk.",
    )

    canary: CanarySettings = CanarySettings()

    @model_validator(mode="after")
    def _all_hear_of_it(self) -> RolloutSettings:
        if self.commit_ahead_s < 4 * self.poll_s:
            raise ValueError(
                "commit_ahead_s must be at least four polls, or each answer would wait for a reading"
            )
        if self.dead_after_s < 2 * self.poll_s:
            raise ValueError("dead_after_s must be at least two polls, or live replicas would count as dead")
        return self

    @property
    def trusted_s(self) -> float:
        """How long a reading of the desired state is believed."""
        return self.commit_ahead_s / 4

    @property
    def heartbeat_s(self) -> float:
        """Between two reports of a replica that has nothing new to say: each is a write that waits for the disk."""
        return self.dead_after_s / 5
