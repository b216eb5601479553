"""Whether a new adapter may serve: a pure decision from paired measurements, fixed before training.

Only `measurement` knows models and torch; all else is plain values.
"""

from .criteria import Criterion, criteria
from .figures import Comparison
from .measured import ItemMeasurement, Measured
from .verdict import Decision, Finding, Verdict, decide

__all__ = [
    "Comparison",
    "Criterion",
    "Decision",
    "Finding",
    "ItemMeasurement",
    "Measured",
    "Verdict",
    "criteria",
    "decide",
]
