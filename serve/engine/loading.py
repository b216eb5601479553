"""A model and its renderer from a folder or a Hugging Face id, where and as the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from align.rendering import Renderer

from ..errors import SettingsError
from .config import EngineConfig
from .device import torch_device, torch_dtype


def check_model(path_or_id: str) -> None:
    """Whether it is a vision-language model, by its config alone. Raises `SettingsError`."""
    try:
        config = AutoConfig.from_pretrained(path_or_id)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SettingsError(f"cannot read the model {path_or_id!r}: {reason}") from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise SettingsError(
            f"{path_or_id!r} is a {config.model_type}, not a vision-language model that transformers loads "
            "with AutoModelForImageTextToText"
        )


def load_model(path_or_id: str | Path, config: EngineConfig, revision: str | None) -> tuple[Any, Renderer]:
    """Raises `SettingsError` for a kind of attention that cannot be used."""
    renderer = Renderer.from_pretrained(path_or_id, revision)
    auto_model = AutoModelForImageTextToText if renderer.has_vision else AutoModelForCausalLM
    attention = None if config.attention == "auto" else config.attention
    try:
        model = auto_model.from_pretrained(
            path_or_id, revision=revision, dtype=torch_dtype(config), attn_implementation=attention
        )
    except (ImportError, ValueError) as error:
        if attention is None:
            raise
        raise SettingsError(f"attention {attention} cannot be used here: {error}") from error
    return model.to(torch_device(config)), renderer
