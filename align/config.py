"""Every setting of a training run and of the gate that judges it. Imports no torch, so a config file loads fast.

A config is resolved once and never written again; unknown fields are refused, so a typo fails.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .abuse.config import SourceShares

Weighting = Literal["paper", "released"]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SftFirst(_Config):
    """A first stage that only learns the corrected answers (OPA-DPO, arXiv 2501.09695), before the objective proper."""

    num_epochs: int = Field(1, ge=1, description="Passes over all pairs, before those of the run.")
    learning_rate: float = Field(2e-4, gt=0, description="Peak rate of this stage.")
    reference: Literal["base", "sft"] = Field(
        "sft",
        description="Whose scores the preference is measured against: the base's, or those after this stage.",
    )


class ObjectiveConfig(_Config):
    """What is minimised: dense DPO (RLHF-V, arXiv 2312.00849), an anchor, an image contrast, each by its weight."""

    preference_weight: float = Field(
        0.1, ge=0, description="Weight of dense DPO. 0 with an anchor is SFT on the corrected answers."
    )
    beta: float = Field(
        5.0,
        gt=0,
        description="Scale of the rewards, and so how soon a margin is wide enough; fits one form of `normalize`.",
    )
    gamma: float = Field(5.0, ge=1, description="Weight of a corrected token; an unchanged one weighs 1.")
    normalize: bool = Field(
        True,
        description="Divide a score by N, the sum of its weights (Eq. 5). Without, gamma 1 is ordinary DPO.",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="How probable it is that a pair is the wrong way round (conservative DPO).",
    )
    anchor_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the anchor: mean negative log-prob of the chosen answer, nats/token.",
    )
    image_contrast_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of preferring the chosen answer about its image to the same answer about a corrupted one "
        "(mDPO, arXiv 2406.11839). Above 0 each step computes a second pair of answers.",
    )
    weighting: Weighting = Field(
        "paper",
        description="Which tokens weigh gamma. `paper`: every token that a span touches, on its side. `released`: as "
        "RLHF-V's code does, where the token ids differ on both sides.",
    )
    sft_first: SftFirst | None = Field(
        None, description="A first stage of SFT; none: the objective from the start."
    )

    @model_validator(mode="after")
    def _teaches_something(self) -> Self:
        if not (self.preference_weight or self.anchor_weight or self.image_contrast_weight):
            raise ValueError("every weight is 0, so nothing would be learned; give one of them a weight")
        return self

    @property
    def of_sft(self) -> ObjectiveConfig:
        """The anchor alone, on the same pairs."""
        changes = {
            "preference_weight": 0.0,
            "anchor_weight": 1.0,
            "image_contrast_weight": 0.0,
            "sft_first": None,
        }
        return self.model_copy(update=changes)


class LoraSettings(_Config):
    """The shape of the adapter."""

    rank: int = Field(16, ge=1, description="Inner dimension of each low-rank update.")
    alpha: float = Field(32.0, gt=0, description="The update is scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of adapter inputs dropped while training.")
    layers: tuple[str, ...] | None = Field(
        None, description="Last names of the linear layers to adapt; none: all of the language model's."
    )


class ForwardConfig(_Config):
    """How log-probs are computed. Every choice gives the same ones; `precision` to its own rounding."""

    share_prefix: bool = Field(
        True, description="Read prompt, images and common words once for the chosen and the rejected answer."
    )
    image_cache_bytes: int = Field(
        2 * 1024**3, ge=0, description="Memory for features of images seen before; 0 encodes them every time."
    )
    image_disk_bytes: int = Field(
        0, ge=0, description="Space in the run's folder for those that memory does not hold, while it trains."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the forward and backward pass. The adapter's weights stay in float32."
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute layers again in the backward pass: a third slower, with far less memory."
    )


class TrainingConfig(_Config):
    """One run: from the base, over all corrections given."""

    objective: ObjectiveConfig = ObjectiveConfig()
    lora: LoraSettings = LoraSettings()
    forward: ForwardConfig = ForwardConfig()
    learning_rate: float = Field(3e-4, gt=0, description="Peak rate of AdamW.")
    num_epochs: int | None = Field(
        None, ge=1, description="Passes over all pairs; none: three, or as many as make `min_steps`."
    )
    min_steps: int = Field(
        40,
        ge=0,
        description="Optimizer steps at least, where `num_epochs` is none: few pairs are read more often.",
    )
    batch_size: int = Field(16, ge=1, description="Pairs per optimizer step, over all workers.")
    micro_batch_size: int = Field(8, ge=1, description="Pairs per forward pass of one worker.")
    warmup_ratio: float = Field(
        0.1, ge=0, lt=1, description="Share of steps with a rising rate; then linear to 0."
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients longer than this are shortened to it.")
    max_length: int = Field(
        4096,
        ge=1,
        description="Tokens of prompt and answer; a longer pair is left out. The model's own limit holds too.",
    )
    seed: int = Field(
        0, ge=0, description="Seeds the adapter's first weights, dropout and the order of pairs."
    )
    num_workers: int = Field(0, ge=0, description="Ray Train workers; 0 trains in the calling process.")
    num_cpus: float = Field(1.0, ge=0, description="Logical CPUs that each worker asks Ray for.")
    num_gpus: float = Field(
        1.0,
        gt=0,
        description="GPUs that each worker asks Ray for where `device` is `cuda`; a part of one is shared.",
    )
    num_threads: int = Field(1, ge=1, description="Compute threads per worker.")
    niceness: int = Field(10, ge=0, le=19, description="How far a worker lowers its priority (Unix nice).")
    device: str = Field("cpu", description="Torch device; with workers, `cuda` asks Ray for `num_gpus` each.")
    checkpoint_every: int = Field(
        25,
        ge=1,
        description="Optimizer steps between two checkpoints, from which a run that broke off goes on.",
    )
    max_restarts: int = Field(
        3,
        ge=0,
        description="How often a run goes on after one of its processes died, before it counts as failed.",
    )

    PLACEMENT: ClassVar[frozenset[str]] = frozenset(
        {
            "num_workers",
            "num_cpus",
            "num_gpus",
            "num_threads",
            "niceness",
            "device",
            "checkpoint_every",
            "max_restarts",
        }
    )
    """Where and how safely a run runs: fields that change nothing in what it learns."""


class GateConfig(_Config):
    """What a candidate must show, measured against the live adapter on the same items.

    Every bound is compared with a two-sided bootstrap interval: what few or noisy items leave open is not admitted.
    """

    confidence: float = Field(0.95, gt=0.5, lt=1, description="Coverage of each interval.")
    num_resamples: int = Field(2000, ge=100, description="Bootstrap resamples of the groups (images).")
    seed: int = Field(0, ge=0, description="Seeds the bootstrap.")
    min_items: int = Field(20, ge=2, description="Held-out corrections needed for a decision.")
    min_general_items: int = Field(20, ge=2, description="Uncorrected answers needed for a decision.")
    min_margin_gain: float = Field(
        0.0,
        ge=0,
        description="Lower bound of the gain in dense margin must exceed this, nats per weighted token.",
    )
    max_recurrence_rise: float = Field(
        0.05, ge=0, lt=1, description="Tolerated rise of the share of corrected-away segments said again."
    )
    max_corrected_drop: float = Field(
        0.1, ge=0, description="Tolerated fall of the corrected answer's mean log-prob, nats per token."
    )
    max_divergence: float = Field(
        0.5,
        gt=0,
        description="Tolerated KL(base || candidate) on uncorrected answers, nats per token. A good candidate strays, "
        "too: it leaves the mistakes that nobody corrected.",
    )
    max_coverage_drop: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Tolerated relative fall of what answers tell: undisputed words, and objects where known.",
    )
    max_general_coverage_drop: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="The same of uncorrected answers; more, since nobody checked them and other words may be better.",
    )
    max_shrinkage: float = Field(0.2, ge=0, lt=1, description="Tolerated relative fall of words per answer.")
    max_growth: float = Field(0.3, ge=0, description="Tolerated relative rise of words per answer.")
    max_unreadable_rise: float = Field(
        0.03, ge=0, lt=1, description="Tolerated rise of the share of empty or degenerate answers."
    )
    min_kind_images: int = Field(
        10, ge=2, description="Images with a kind of mistake, from which on that kind is judged by itself."
    )
    max_kind_rise: float = Field(
        0.02, ge=0, lt=1, description="Rise of one kind of mistake that is not yet a reason to refuse."
    )
    max_seconds: float = Field(
        1800.0, gt=0, description="How long measuring may take; a candidate that takes longer is refused."
    )
    max_new_tokens: int = Field(256, ge=1, description="Where a measured greedy answer is cut.")
    batch_size: int = Field(
        40,
        ge=1,
        description="Answers generated at once; those that are only read go by training.micro_batch_size.",
    )


class AlignmentConfig(_Config):
    """From corrections to a verdict."""

    training: TrainingConfig = TrainingConfig()
    gate: GateConfig = GateConfig()
    held_out_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the corrected images that judge instead of teaching; more where too few would judge.",
    )
    source_shares: SourceShares = SourceShares()
    max_general: int = Field(
        default=120,
        ge=0,
        description="Uncorrected answers of the base, drawn by lot, that the gate compares beside them.",
    )
