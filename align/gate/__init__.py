"""Whether a new adapter may serve: a pure decision from paired measurements, fixed before training.

Only `measurement` knows models and torch; all else is plain values.
"""

from .comparison import Comparison
from .criteria import Criterion, criteria
from .measured import ItemMeasurement, Measured, Measurements, Truth
from .verdict import Decision, Finding, Verdict, decide

__all__ = [
    "Comparison",
    "Criterion",
    "Decision",
    "Finding",
    "ItemMeasurement",
    "Measured",
    "Measurements",
    "Truth",
    "Verdict",
    "criteria",
    "decide",
]
