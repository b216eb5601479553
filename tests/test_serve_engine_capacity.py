from __future__ import annotations

import pytest

from serve.engine.capacity import Capacity, capacity
from serve.engine.config import EngineConfig
from serve.errors import SettingsError


def test_a_model_is_served_at_its_own_length_but_no_longer_than_the_default() -> None:
    assert capacity(EngineConfig(), model_limit=512, token_bytes=1) == Capacity(512, 32)
    assert capacity(EngineConfig(), model_limit=131_072, token_bytes=1) == Capacity(4096, 32)
    assert capacity(EngineConfig(), model_limit=None, token_bytes=1) == Capacity(4096, 32)


def test_a_length_that_was_asked_for_is_kept_or_refused() -> None:
    assert capacity(EngineConfig(max_model_len=8192), 131_072, 1).max_model_len == 8192
    with pytest.raises(SettingsError, match="512"):
        capacity(EngineConfig(max_model_len=513), 512, 1)


def test_rows_are_as_many_as_the_memory_holds() -> None:
    config = EngineConfig(cache_bytes=1000, max_num_sequences=8)
    assert capacity(config, model_limit=10, token_bytes=20).num_sequences == 5
    assert capacity(config, model_limit=10, token_bytes=1).num_sequences == 8
    with pytest.raises(SettingsError, match="cache_bytes"):
        capacity(config, model_limit=10, token_bytes=101)
