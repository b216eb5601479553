"""A version judged once more, on what its run was judged by: beside another version, or by other bounds.

Changes nothing: the verdict of its run stands.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from .alignment import judge
from .config import AlignmentConfig, GateConfig
from .errors import Conflict
from .gate import Verdict
from .manifest import thaw
from .state import Blobs, Store
from .state.adapters import version_name, version_number
from .state.rollouts import BASE


def rejudge(
    store: Store,
    blobs: Blobs,
    version: str,
    *,
    against: str | None = None,
    base: str | None = None,
    gate: GateConfig | None = None,
) -> Verdict:
    """`against`, `base` and `gate` are those of the version's run unless given.

    Raises `NotFound`, and `Conflict` where what it was judged by may not be used any more.
    """
    adapter = store.adapters.get(version)
    manifest = store.runs.get(adapter.run_id).manifest
    if manifest is None:
        raise Conflict(f"{adapter.version} has no manifest, so nobody knows what it was judged by")
    frozen = thaw(store, blobs, manifest)
    if against is not None:
        live = BASE if against == BASE else version_name(version_number(against))
        frozen = replace(frozen, live=live)
    config = AlignmentConfig.model_validate(manifest["config"])
    if gate is not None:
        config = config.model_copy(update={"gate": gate})
    with TemporaryDirectory(prefix="errata-candidate-") as folder:
        candidate = blobs.copy_folder(adapter.blob, Path(folder))
        verdict, _ = judge(store, blobs, frozen, base or manifest["base"], candidate, config)
    return verdict
