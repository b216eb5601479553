"""A drawn world whose contents are known exactly, so that hallucination is measured. Imports no torch by itself."""

from pathlib import Path

MODEL_PATH: Path = Path(__file__).parent / "model"
