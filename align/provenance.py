"""What a run was made with, beside its corrections: digests of the code, of the base model and of its processor.

Two runs whose manifests agree in these, in the corrections and in the config make the same adapter, to tolerance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from transformers.utils import cached_file

from .errors import StateError

WEIGHTS = (".safetensors", ".bin")
PROCESSOR = (".json", ".jinja", ".txt", ".model")
MODEL_CONFIGS = ("config.json", "generation_config.json")


@dataclass(frozen=True)
class Provenance:
    """Each digest is a SHA-256 over names and contents."""

    code_version: str  # of the package, and of the sources that train: they change between two versions, too
    base_digest: str  # weights and config
    processor_digest: str  # what turns text and images into inputs: tokenizer, image processor, template

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def provenance_of(base: str | Path) -> Provenance:
    """Of this code and the base model, a folder or a Hugging Face id that was loaded before. Raises `StateError`."""
    folder = model_folder(base)
    return Provenance(code_version(), base_digest(folder), processor_digest(folder))


def code_version(package: Path = Path(__file__).parent) -> str:
    """As in `0.1.0+3f9c0a1b2c3d`: the second half is a digest of the package's sources, by default of this one's."""
    sources = [(str(path.relative_to(package)), path) for path in package.rglob("*.py")]
    return f"{version('errata-server')}+{_digest(sources)[:12]}"


def base_digest(folder: Path) -> str:
    return _digest(
        (path.name, path)
        for path in _files(folder)
        if path.name in MODEL_CONFIGS or path.suffix in WEIGHTS or path.name.endswith(".index.json")
    )


def processor_digest(folder: Path) -> str:
    return _digest(
        (path.name, path)
        for path in _files(folder)
        if path.suffix in PROCESSOR
        and path.name not in MODEL_CONFIGS
        and not path.name.endswith(".index.json")
    )


def model_folder(base: str | Path) -> Path:
    """Where the model's files are on this disk. Raises `StateError`."""
    if Path(base).is_dir():
        return Path(base)
    try:
        config = cached_file(str(base), "config.json", local_files_only=True)
    except OSError as error:
        raise StateError(
            f"the files of {str(base)!r} are not on this machine; load the model once"
        ) from error
    assert config is not None, "`cached_file` raises where there is none"
    return Path(config).parent


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files):
        written = path.stat()
        digest.update(f"{name}\0{_content_digest(path, written.st_size, written.st_mtime_ns)}\0".encode())
    return digest.hexdigest()


@cache
def _content_digest(path: Path, _size: int, _mtime_ns: int) -> str:
    """Gigabytes of weights are read once in a process, not once a run."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
