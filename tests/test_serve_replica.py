"""How a replica begins its engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from serve.engine import device, host_process, process
from serve.replica import transformers_engine
from serve.settings import Settings


@pytest.mark.parametrize(("num_replicas", "share"), [(1, 4), (3, 1), (8, 1)])
def test_each_replica_s_engine_has_its_share_of_the_cores_and_never_none(
    monkeypatch: pytest.MonkeyPatch, num_replicas: int, share: int
) -> None:
    def engine(*_: Any, num_cores: int, host: Any) -> Any:
        return SimpleNamespace(num_cores=num_cores)

    monkeypatch.setattr(device, "cores", lambda: 4)
    monkeypatch.setattr(host_process, "HostProcess", lambda: None)
    monkeypatch.setattr(process, "EngineProcess", engine)
    assert transformers_engine(Settings(num_replicas=num_replicas)).num_cores == share  # type: ignore[attr-defined]
