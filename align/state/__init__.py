"""What must survive a restart: one SQL database and one tree of blobs. Imports no torch."""

from .adapters import Adapter, version_name, version_number
from .blobs import Blobs
from .corrections import Correction
from .erasures import Erasure
from .keys import Key
from .outcomes import Failure
from .replicas import Replica
from .responses import Response
from .rollouts import Rollout, Terms
from .runs import Run
from .store import Store

__all__ = [
    "Adapter",
    "Blobs",
    "Correction",
    "Erasure",
    "Failure",
    "Key",
    "Replica",
    "Response",
    "Rollout",
    "Run",
    "Store",
    "Terms",
    "version_name",
    "version_number",
]
