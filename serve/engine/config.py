"""The engine's settings. Imports no torch, so that the command line and the API's tests start fast."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EngineConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_num_sequences: int = Field(
        default=32,
        ge=1,
        description="Sequences that run at once; fewer where `cache_bytes` does not hold them.",
    )
    max_model_len: int | None = Field(
        default=None,
        ge=1,
        description="Prompt and answer, in tokens. None: the model's own limit, at most 4096.",
    )
    cache_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Memory for keys and values, allocated once at the start. None: what `memory_share` leaves.",
    )
    memory_share: float = Field(
        default=0.85,
        gt=0,
        lt=1,
        description="Of a GPU's memory, for weights, keys and values; the rest is for the work of a step. "
        "On a CPU keys and values get this share of the memory that is free, but at most 4 GiB.",
    )
    prefix_share: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Of the memory for keys and values, what keeps prompts that were read, so that another that begins "
        "alike is answered sooner; 0 keeps none.",
    )
    max_waiting: int = Field(
        default=256, ge=0, description="Sequences that wait for a place; beyond it the engine is full."
    )
    max_prefill_tokens: int = Field(
        default=1024,
        ge=1,
        description="Prompt tokens read in a step, before running sequences get their next; a longer prompt is read in "
        "as many steps as it takes.",
    )
    max_step_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds that a step may take; a replica whose step takes longer is replaced.",
    )
    num_adapter_slots: int = Field(
        default=6, ge=0, description="Adapter versions that can be loaded at once, the base not counted."
    )
    max_rank: int = Field(default=32, ge=1, description="The largest LoRA rank that can be loaded.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Of weights and key/values. auto: float32 on a CPU, bfloat16 on a GPU."
    )
    device: str = Field(default="auto", description="As torch names it. auto: the first GPU, else the CPU.")
    attention: Literal["auto", "sdpa", "eager"] = Field(
        default="auto", description="As transformers names it. auto: what transformers takes for the model."
    )
    num_threads: int | None = Field(
        default=None,
        ge=1,
        description="CPU threads of one operation. None: one for a small model, which gains nothing from more, else "
        "this machine's cores, shared among its replicas.",
    )
    image_cache_bytes: int = Field(
        default=64 * 2**20, ge=0, description="Memory for features of images seen before; 0 keeps none."
    )
