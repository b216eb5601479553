"""How many sequences of which length fit: a pure decision over the settings and the model's own limits."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingsError
from .config import EngineConfig

DEFAULT_MODEL_LEN = 4096


@dataclass(frozen=True)
class Capacity:
    max_model_len: int
    """Prompt and answer together, in tokens."""
    num_sequences: int
    """Rows of the key/value memory, each of `max_model_len` tokens."""


def capacity(config: EngineConfig, model_limit: int | None, token_bytes: int, cache_bytes: int) -> Capacity:
    """`token_bytes`: keys and values of one token, all layers; `cache_bytes`: what there is for all.

    Raises `SettingsError` where nothing fits.
    """
    if config.max_model_len is None:
        length = min(model_limit or DEFAULT_MODEL_LEN, DEFAULT_MODEL_LEN)
    else:
        length = config.max_model_len
        if model_limit is not None and length > model_limit:
            raise SettingsError(
                f"max_model_len {length} is above what the model supports here: {model_limit}."
            )
    num_rows = cache_bytes // (length * token_bytes)
    if num_rows < 1:
        raise SettingsError(
            f"One sequence of {length} tokens needs {length * token_bytes} bytes of key/value memory, and there are "
            f"{cache_bytes}: raise cache_bytes or memory_share, or lower max_model_len."
        )
    return Capacity(length, min(config.max_num_sequences, num_rows))
