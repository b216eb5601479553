"""How much memory models take on a GPU, computed from the shapes in their published configurations.

The sums are the engine's: keys and values of all layers for each token, adapters padded to the largest rank.
"""

from __future__ import annotations

from dataclasses import dataclass

from serve.engine.capacity import DEFAULT_MODEL_LEN, capacity
from serve.engine.config import EngineConfig
from serve.errors import SettingsError

from .tables import table

BYTES = 2
"""Of a number in bfloat16."""
GPUS = (24, 80)
"""GB."""


@dataclass(frozen=True)
class Shape:
    name: str
    num_parameters: float
    num_layers: int
    hidden: int
    intermediate: int
    num_heads: int
    num_kv_heads: int
    head_dim: int

    @property
    def weight_bytes(self) -> int:
        return int(self.num_parameters * BYTES)

    @property
    def token_bytes(self) -> int:
        """Key and value of one token in all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * BYTES

    def slot_bytes(self, rank: int) -> int:
        """A and B of every adapted layer: attention's four and the feed-forward's three."""
        heads, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        sides = [(self.hidden, heads), (self.hidden, kv), (self.hidden, kv), (heads, self.hidden)]
        sides += [(self.hidden, self.intermediate)] * 2 + [(self.intermediate, self.hidden)]
        return self.num_layers * rank * sum(a + b for a, b in sides) * BYTES


SHAPES = (
    Shape("SmolVLM-256M-Instruct", 0.256e9, 30, 576, 1536, 9, 3, 64),
    Shape("Qwen2.5-VL-3B-Instruct", 3.75e9, 36, 2048, 11008, 16, 2, 128),
    Shape("gemma-3-4b-it", 4.30e9, 34, 2560, 10240, 8, 4, 256),
    Shape("llava-1.5-7b-hf", 7.06e9, 32, 4096, 11008, 32, 32, 128),
    Shape("llava-v1.6-mistral-7b-hf", 7.57e9, 32, 4096, 14336, 32, 8, 128),
    Shape("Qwen2.5-VL-7B-Instruct", 8.29e9, 28, 3584, 18944, 28, 4, 128),
    Shape("Idefics3-8B-Llama3", 8.46e9, 32, 4096, 14336, 32, 8, 128),
)


def memory_table(config: EngineConfig | None = None) -> str:
    config = config or EngineConfig()
    head = ("model", "weights, GB", "adapter slots, GB", "keys and values, KB a token")
    return table(
        (*head, *(f"answers at once in {gpu} GB" for gpu in GPUS)),
        [
            (
                shape.name,
                f"{shape.weight_bytes / 1e9:.1f}",
                f"{_slots(shape, config) / 1e9:.2f}",
                f"{shape.token_bytes / 1e3:.0f}",
                *(sequences(shape, gpu, config) for gpu in GPUS),
            )
            for shape in SHAPES
        ],
    )


def sequences(shape: Shape, gpu_gb: int, config: EngineConfig) -> int:
    """Of `DEFAULT_MODEL_LEN` tokens each; 0 where not one fits."""
    left = int(gpu_gb * 1e9 * config.memory_share) - shape.weight_bytes - _slots(shape, config)
    left -= int(config.prefix_share * max(left, 0))
    try:
        return capacity(config, DEFAULT_MODEL_LEN, shape.token_bytes, left).num_sequences
    except SettingsError:
        return 0


def _slots(shape: Shape, config: EngineConfig) -> int:
    """The base's, of zeros, among them."""
    return (config.num_adapter_slots + 1) * shape.slot_bytes(config.max_rank)
