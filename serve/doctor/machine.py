"""The machine: packages, memory, disk, shared memory, the device. Knows nothing of what Errata keeps."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ..errors import SettingsError
from ..settings import Settings
from .finding import Finding, good, problem, warning

GIB = 2**30
DISTRIBUTION = "errata-server"
OBJECT_STORE_BYTES = 256 * 2**20
"""What `launch` has Ray reserve."""
LITTLE_DISK, LITTLE_MEMORY = 2 * GIB, 2 * GIB


def packages() -> Finding:
    """Whether what is installed is what Errata asks for."""
    wrong = list(_unmet(DISTRIBUTION))
    if wrong:
        return problem("packages", "; ".join(wrong), "install the tested versions: make setup")
    names = (DISTRIBUTION, "torch", "transformers", "peft", "ray", "errata")
    versions = [f"{name} {metadata.version(name)}" for name in names]
    return good("packages", ", ".join([f"Python {platform.python_version()}", *versions]))


def _unmet(distribution: str) -> Iterator[str]:
    from packaging.requirements import Requirement

    for line in metadata.requires(distribution) or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is missing"
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} is {version}, and {requirement.specifier} is needed"


def device(settings: Settings) -> Finding:
    """Where the model would run, and whether a GPU stays unused."""
    from ..engine.device import chosen_gpu, cores, has_usable_gpu

    try:
        gpu = chosen_gpu(settings.engine)
    except SettingsError as error:
        return problem("device", str(error), "set engine.device to auto or cpu")
    if gpu is not None:
        free, total = gpu.free_bytes / GIB, gpu.total_bytes / GIB
        return good("device", f"{gpu.name}, {free:.1f} of {total:.1f} GiB free")
    if _has_nvidia_driver() and not has_usable_gpu():
        version = metadata.version("torch")
        return warning(
            "device",
            f"CPU, {cores()} cores, although there is an NVIDIA driver: torch {version} cannot use it",
            "install a build of torch for it: TORCH_INDEX=https://download.pytorch.org/whl/cu128 make setup",
        )
    return good("device", f"CPU, {cores()} cores")


def _has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


def memory(settings: Settings) -> Finding:
    """For the weights of all replicas in single precision, and something to work with."""
    import psutil

    from .files import weight_bytes

    free = psutil.virtual_memory().available
    needed = LITTLE_MEMORY + settings.num_replicas * weight_bytes(settings.model)
    found = f"{free / GIB:.1f} GiB free"
    if free < needed:
        advice = "end other programs, or serve fewer replicas or a smaller model"
        return warning("memory", f"{found}, about {needed / GIB:.1f} GiB are needed", advice)
    return good("memory", found)


def disk(settings: Settings) -> Finding:
    folder = _existing(settings.state.resolve())
    if not os.access(folder, os.W_OK):
        return problem("disk", f"{folder} cannot be written", "choose another --state, or change its owner")
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free at {folder}"
    if free < LITTLE_DISK:
        return warning("disk", found, "images and adapters need room: free some, or choose another --state")
    return good("disk", found)


def shared_memory() -> Finding:
    """Where Ray keeps what its processes share."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return good("shared memory", "not needed on this system")
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**20:,.0f} MiB free in {folder}"
    if free < OBJECT_STORE_BYTES:
        return warning(
            "shared memory", found, "Ray takes the disk instead, slowly; with docker: --shm-size=1g"
        )
    return good("shared memory", found)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
