"""What many tests start from."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from postgresql_server import PostgreSQLServer, postgresql_server

from align.state import Blobs, Store

if TYPE_CHECKING:
    from aligners import MakeAligner
    from reconcilers import Cluster
    from s3_server import S3Server

    from serve.aligner import Aligner
    from serve.settings import Settings

# speed is measured in benchmarks, never asserted in tests
hypothesis.settings.register_profile("errata", deadline=None)
hypothesis.settings.load_profile("errata")

DATABASES = ("sqlite", "postgresql")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start a cluster first: begun last, one would keep a single process busy for minutes."""
    slow = {item.path for item in items if item.get_closest_marker("cluster") is not None}
    items.sort(key=lambda item: item.path not in slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked `every_database` runs on each, wherever its database comes from the fixture below."""
    is_marked = metafunc.definition.get_closest_marker("every_database") is not None
    if is_marked and "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", DATABASES, indirect=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """One for the whole session, which forgets at a crash of the machine and is the faster for it."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """What fsspec and botocore find by the environment, as they do in service."""
    from s3_server import s3_server

    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        names = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in (names | {"AWS_ENDPOINT_URL": server.url}).items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The URL of an empty one."""
    return s3.new_bucket(f"errata-{uuid.uuid4().hex}")


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a blank database of the test's own: `errata.db` in its folder, unless it is marked `every_database`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield f"sqlite:///{tmp_path}/errata.db"
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty one."""
    store = Store(database_url)
    yield store
    store.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs"), cache=tmp_path / "cache")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a server in the test's folder whose aligner is quick to begin."""
    from serve.settings import AlignmentSettings, Settings

    return Settings(state=tmp_path, alignment=AlignmentSettings(min_corrections=3, poll_s=0.01))


@pytest.fixture
def make_aligner(settings: Settings) -> Iterator[MakeAligner]:
    from aligners import aligners

    with aligners(settings) as make:
        yield make


@pytest.fixture
def aligner(make_aligner: MakeAligner) -> Aligner:
    return make_aligner()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Replicas in this process, none at first."""
    from reconcilers import Cluster

    cluster = Cluster(f"sqlite:///{tmp_path}/errata.db")
    yield cluster
    cluster.close()
