"""What Errata reads and keeps: the model's files, the database, adapters among the blobs. Writes none of them."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from align.state.database import open_engine
from align.state.migrations import MIGRATIONS, schema_version

from ..settings import Settings
from .finding import Finding, good, problem, warning

MIB = 2**20
ACTIVE_KEYS = "SELECT count(*) FROM keys WHERE revoked IS NULL"


def model(settings: Settings) -> Finding:
    """Its files, and whether Errata can serve what they say."""
    from ..engine.loading import check_model

    folder = model_folder(settings.model)
    if folder is None:
        if Path(settings.model).is_absolute() or settings.model.startswith("."):
            return problem("model", f"there is no folder {settings.model}", "name another with --model")
        return warning(
            "model",
            f"{settings.model} is not on this machine yet",
            f"it is fetched at the first start; now: hf download {settings.model}",
        )
    check_model(settings.model)
    if missing := missing_weights(folder):
        return problem("model", f"{folder} lacks {', '.join(missing)}", "copy or download the model again")
    return good("model", f"{settings.model_name}, {weight_bytes(settings.model) / MIB:,.0f} MiB in {folder}")


def model_folder(name: str) -> Path | None:
    """Where a model's files are: a folder, or what was downloaded of a Hugging Face id."""
    if Path(name).is_dir():
        return Path(name).resolve()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def missing_weights(folder: Path) -> list[str]:
    """Names of files that must be there; where an index names parts, all of these."""
    for index in folder.glob("*.index.json"):
        parts = set(json.loads(index.read_text())["weight_map"].values())
        return sorted(part for part in parts if not (folder / part).is_file())
    return [] if weights(folder) else ["model.safetensors"]


def weights(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])


def weight_bytes(model: str) -> int:
    """0 for a model that is not on this machine."""
    folder = model_folder(model)
    return 0 if folder is None else sum(path.stat().st_size for path in weights(folder))


def database(settings: Settings) -> Finding:
    file = settings.database_file
    if file is None:
        return _shared_database(settings.database_url)
    if not file.exists():
        return good("database", f"none in {settings.state} yet; the first start makes it")
    try:
        with read_only(file) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = connection.execute("SELECT version FROM schema_version").fetchone()
    except sqlite3.Error as error:
        return problem("database", f"{file} cannot be read: {error}", "restore it from a backup")
    if answer != "ok":
        return problem("database", f"{file} is damaged: {answer}", "restore it from a backup")
    if version > len(MIGRATIONS):
        found = f"{file} has schema {version}, this Errata knows up to {len(MIGRATIONS)}"
        return problem("database", found, "start it with the newer Errata that wrote it")
    size = f"{file}, {file.stat().st_size / MIB:,.1f} MiB, whole"
    if version < len(MIGRATIONS):
        advice = "the next start brings it to today's; make a copy first if you may want to go back"
        return warning("database", f"{size}, of an earlier Errata (schema {version})", advice)
    return good("database", size)


def _shared_database(url: str) -> Finding:
    """One that a server of its own keeps; it is looked at, not brought to today's schema."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            version = schema_version(connection)
    except DatabaseError as error:
        advice = "start it, or correct `database`"
        return problem("database", f"no answer: {str(error.orig).strip()}", advice)
    finally:
        engine.dispose()
    where = engine.url.render_as_string(hide_password=True)
    if version > len(MIGRATIONS):
        found = f"{where} has schema {version}, this Errata knows up to {len(MIGRATIONS)}"
        return problem("database", found, "start it with the newer Errata that wrote it")
    if version == 0:
        return good("database", f"{where}, empty; the first start makes its tables")
    return good("database", f"{where}, schema {version}")


def num_active_keys(settings: Settings) -> int:
    """0 where there is no database yet."""
    if settings.database_file is not None:
        if not settings.database_file.exists():
            return 0
        with read_only(settings.database_file) as connection:
            (num,) = connection.execute(ACTIVE_KEYS).fetchone()
            return int(num)
    engine = open_engine(settings.database_url)
    try:
        with engine.connect() as shared:
            return int(shared.exec_driver_sql(ACTIVE_KEYS).scalar_one()) if schema_version(shared) else 0
    finally:
        engine.dispose()


@contextmanager
def read_only(file: Path) -> Iterator[sqlite3.Connection]:
    """A server that opens a database brings it to today's schema; this leaves it as it is."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


def adapters(settings: Settings) -> Finding:
    """Whether the store holds each version that serves as it was published; replicas mend copies of theirs."""
    from align.adapter_files import adapter_digest
    from align.state import Blobs, Store

    is_new = settings.database_file is not None and not settings.database_file.exists()
    if database(settings).standing != "good" or is_new:
        return good("adapters", "none that could be looked at")
    store = Store(settings.database_url)
    try:
        blobs = Blobs(settings.blobs_url, cache=settings.state / "cache")
        versions = [version for version in store.rollouts.in_force().versions if version != "base"]
        for version in versions:
            adapter = store.adapters.get(version)
            with tempfile.TemporaryDirectory(prefix="errata-doctor-") as copy:
                is_whole = adapter_digest(blobs.copy_folder(adapter.blob, Path(copy))) == adapter.digest
            if not is_whole:
                return problem(
                    "adapters",
                    f"the files of {version} are not those that were published",
                    "restore the blobs from a backup, or serve another version: errata adapters rollback",
                )
    finally:
        store.close()
    return good("adapters", f"{', '.join(versions)} as published" if versions else "the base model serves")
