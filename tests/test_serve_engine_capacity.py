from __future__ import annotations

import pytest
import torch

from serve.engine.capacity import Capacity, capacity
from serve.engine.config import EngineConfig
from serve.engine.device import MAX_CPU_CACHE_BYTES, cache_bytes, num_threads
from serve.errors import SettingsError

MUCH = 2**40


def test_a_model_is_served_at_its_own_length_but_no_longer_than_the_default() -> None:
    assert capacity(EngineConfig(), 512, 1, MUCH) == Capacity(512, 32)
    assert capacity(EngineConfig(), 131_072, 1, MUCH) == Capacity(4096, 32)
    assert capacity(EngineConfig(), None, 1, MUCH) == Capacity(4096, 32)


def test_a_length_that_was_asked_for_is_kept_or_refused() -> None:
    assert capacity(EngineConfig(max_model_len=8192), 131_072, 1, MUCH).max_model_len == 8192
    with pytest.raises(SettingsError, match="512"):
        capacity(EngineConfig(max_model_len=513), 512, 1, MUCH)


def test_rows_are_as_many_as_the_memory_holds() -> None:
    config = EngineConfig(max_num_sequences=8)
    assert capacity(config, 10, 20, cache_bytes=1000).num_sequences == 5
    assert capacity(config, 10, 1, cache_bytes=1000).num_sequences == 8
    with pytest.raises(SettingsError, match="cache_bytes"):
        capacity(config, 10, 101, cache_bytes=1000)


def test_keys_and_values_get_what_was_asked_for_or_a_share_of_what_is_free() -> None:
    cpu = torch.device("cpu")
    assert cache_bytes(EngineConfig(cache_bytes=123), cpu) == 123
    one, two = (cache_bytes(EngineConfig(memory_share=share), cpu) for share in (0.001, 0.002))
    assert 1.5 < two / one < 2.5  # others use this machine, too
    assert cache_bytes(EngineConfig(), cpu) <= MAX_CPU_CACHE_BYTES


def test_a_small_model_gets_one_thread_and_a_large_one_the_cores() -> None:
    assert num_threads(EngineConfig(), 3_000_000, 16) == 1
    assert num_threads(EngineConfig(), 7_000_000_000, 16) == 16
    assert num_threads(EngineConfig(), 7_000_000_000, 0) == 1
    assert num_threads(EngineConfig(num_threads=3), 3_000_000, 16) == 3
