"""A model and its renderer from a folder or a Hugging Face id, where and as the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from align.rendering import Renderer

from ..errors import SettingsError
from .config import EngineConfig
from .device import torch_device, torch_dtype


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
