"""What many tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from align.state import Blobs, Store

settings.register_profile("errata", deadline=None)  # speed is measured in benchmarks, never asserted in tests
settings.load_profile("errata")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one, in the file `errata.db` of the test's folder."""
    store = Store(f"sqlite:///{tmp_path}/errata.db")
    yield store
    store.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs"), cache=tmp_path / "cache")
