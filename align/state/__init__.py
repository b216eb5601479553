"""What must survive a restart: one SQL database and one tree of blobs. Imports no torch."""

from .adapters import Adapter, version_name, version_number
from .blobs import Blobs
from .corrections import Correction
from .erasures import Erasure
from .keys import Key
from .replicas import Replica
from .responses import Response
from .rollouts import Rollout
from .runs import Run
from .store import Store

__all__ = [
    "Adapter",
    "Blobs",
    "Correction",
    "Erasure",
    "Key",
    "Replica",
    "Response",
    "Rollout",
    "Run",
    "Store",
    "version_name",
    "version_number",
]
