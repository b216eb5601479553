"""A LoRA adapter on the language model's linear layers: attached, saved whole in PEFT's format, loaded, checked.

Knows nothing about training. The vision tower and the projector are never adapted, so image features stay valid
whichever adapter answers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .adapter_files import WEIGHTS_FILE, adapter_digest
from .config import LoraSettings
from .durable import appears_whole
from .errors import InvalidAdapter


def attach_adapter(model: Any, settings: LoraSettings) -> Any:
    """`model` as a PEFT model with one fresh adapter, which changes nothing yet. Uses torch's global generator."""
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # PEFT says int, but only divides it by the rank
        lora_dropout=settings.dropout,
        target_modules=target_pattern(model, settings.layers),
        bias="none",
    )
    return get_peft_model(model, lora)


def target_pattern(model: Any, layers: tuple[str, ...] | None = None) -> str:
    """A pattern of full module names: the linear layers inside the language model, and nothing else.

    A bare "q_proj" would also match the vision tower's. Raises `InvalidAdapter` if the language model or one of
    the named layers cannot be found.
    """
    language_model = model.get_decoder()
    prefix = next((name for name, module in model.named_modules() if module is language_model), "")
    if not prefix:
        raise InvalidAdapter(
            f"cannot tell the language model of {type(model).__name__} from its vision tower"
        )
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear)
    }
    if missing := set(layers or ()) - linear:
        raise InvalidAdapter(
            f"no linear layer is named {', '.join(sorted(missing))}; there are {sorted(linear)}"
        )
    names = "|".join(re.escape(name) for name in sorted(layers or linear))
    return rf"{re.escape(prefix)}\.(?:.*\.)?(?:{names})"


def save_adapter(model: Any, folder: Path, base: str) -> str:
    """Write the model's adapter to `folder`, which appears whole or not at all; returns its digest.

    `base` is the name under which PEFT will look for the base model. Raises `FileExistsError`: a version never
    changes.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists, and an adapter never changes; choose another folder")
    with appears_whole(folder) as temporary:
        temporary.mkdir()
        config = model.peft_config[model.active_adapter]
        config.base_model_name_or_path, config.inference_mode = base, True
        config.save_pretrained(str(temporary))
        weights = get_peft_model_state_dict(model)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
            temporary / WEIGHTS_FILE,
            metadata={"format": "pt"},
        )
    return adapter_digest(folder)


def load_adapter(model: Any, folder: Path, name: str) -> Any:
    """`model` with the saved adapter under `name`, beside those that it has. Base models become PEFT models.

    Raises `InvalidAdapter` unless every saved tensor found its module, every module its tensor, and all are finite.
    """
    saved = _tensor_names(folder)
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), adapter_name=name, is_trainable=False)
        else:
            model = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InvalidAdapter(f"{folder} does not fit this model: {error}") from error
    loaded = get_peft_model_state_dict(model, adapter_name=name)
    if saved != loaded.keys():
        raise InvalidAdapter(f"{folder} does not fit this model: {sorted(saved ^ loaded.keys())[:3]} differ")
    if not all(tensor.isfinite().all() for tensor in loaded.values()):
        raise InvalidAdapter(f"{folder} holds weights that are not finite; train it again")
    return model


def _tensor_names(folder: Path) -> set[str]:
    adapter_digest(folder)  # both files are there
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as weights:
            return set(weights.keys())
    except SafetensorError as error:
        raise InvalidAdapter(f"{folder / WEIGHTS_FILE} is damaged: {error}") from error
