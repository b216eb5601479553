"""Reads a PEFT LoRA folder into plain tensors, or says exactly why it cannot be served. Runs no model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from align.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from align.errors import InvalidAdapter

TENSOR_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>A|B)\.weight")
REFUSED_SETTINGS = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
)
STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Of `init_lora_weights`, those that leave the base's weights as they are."""


@dataclass(frozen=True)
class LowRank:
    """The change to one weight: `b @ a`, scaling inside `b`."""

    a: Tensor  # (r, in)
    b: Tensor  # (out, r)


def read_adapter(folder: Path, shapes: Mapping[str, tuple[int, int]], max_rank: int) -> dict[str, LowRank]:
    """The adapter by module. `shapes` are (out, in) of the modules that can be adapted. Raises `InvalidAdapter`."""
    config = _read_config(folder)
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _read_tensors(folder).items():
        match = TENSOR_NAME.fullmatch(name)
        if match is None or match["module"] not in shapes:
            raise InvalidAdapter(
                f"{folder.name}: tensor {name!r} belongs to no linear layer of the language model "
                f"(such as {next(iter(shapes), 'none')!r}); train adapters on those layers only."
            )
        if not torch.isfinite(tensor).all():
            raise InvalidAdapter(f"{folder.name}: tensor {name!r} holds values that are not finite.")
        sides.setdefault(match["module"], {})[match["side"]] = tensor.float()
    if not sides:
        raise InvalidAdapter(f"{folder.name}: {WEIGHTS_FILE} holds no tensors.")
    return {
        module: _low_rank(folder, module, pair, shapes[module], config, max_rank)
        for module, pair in sides.items()
    }


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text())
    except FileNotFoundError:
        raise InvalidAdapter(
            f"{folder.name}: {CONFIG_FILE} is missing; give a folder as PEFT saves it."
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidAdapter(f"{folder.name}: {CONFIG_FILE} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise InvalidAdapter(f"{folder.name}: {CONFIG_FILE} has not peft_type LORA, the only one served.")
    for setting in REFUSED_SETTINGS:
        if config.get(setting):
            raise InvalidAdapter(f"{folder.name}: {setting} is set, which is not served; train without it.")
    if config.get("bias", "none") != "none":
        raise InvalidAdapter(f"{folder.name}: bias is {config['bias']!r}; train with bias='none'.")
    if config.get("init_lora_weights", True) not in STARTS:
        raise InvalidAdapter(
            f"{folder.name}: init_lora_weights is {config['init_lora_weights']!r}, with which PEFT changes the base's "
            "own weights; save it converted to plain LoRA (PEFT's path_initial_model_for_weight_conversion)."
        )
    return config


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(folder / WEIGHTS_FILE)
    except FileNotFoundError:
        raise InvalidAdapter(
            f"{folder.name}: {WEIGHTS_FILE} is missing; other formats (pickle) are not read."
        ) from None
    except (OSError, SafetensorError) as error:
        raise InvalidAdapter(f"{folder.name}: {WEIGHTS_FILE} cannot be read: {error}") from error
    return tensors


def _low_rank(
    folder: Path,
    module: str,
    pair: Mapping[str, Tensor],
    shape: tuple[int, int],
    config: Mapping[str, Any],
    max_rank: int,
) -> LowRank:
    if set(pair) != {"A", "B"}:
        raise InvalidAdapter(f"{folder.name}: {module} has lora_{''.join(pair)} without its other half.")
    a, b = pair["A"], pair["B"]
    rank = _by_pattern(config.get("rank_pattern"), module, config.get("r"))
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise InvalidAdapter(
            f"{folder.name}: {CONFIG_FILE} gives r={rank!r}, lora_alpha={alpha!r} for {module}."
        )
    if a.shape != (rank, shape[1]) or b.shape != (shape[0], rank):
        raise InvalidAdapter(
            f"{folder.name}: {module} has A {tuple(a.shape)} and B {tuple(b.shape)}, but rank {rank} of this model "
            f"needs {(rank, shape[1])} and {(shape[0], rank)}: was it trained on another model?"
        )
    if rank > max_rank:
        raise InvalidAdapter(
            f"{folder.name}: rank {rank} of {module} is above max_rank {max_rank}; raise it."
        )
    scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return LowRank(a, b * scaling)


def _by_pattern(pattern: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """PEFT's rule: the first key that is the module's name, or the end of it after a dot, as a regular expression."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default
