"""Image features that no longer fit in memory, on disk: a run reads them back instead of encoding an image again.

Files are named by a digest of the images, the base model, its processor and the number format, so a folder that
outlives its run never gives the features of another model. They are derived from users' images: the folder of a run
is removed with it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .durable import appears_whole
from .provenance import provenance_of

Features = list[Tensor] | Tensor
"""As a model's encoder gives them: one tensor for each image, or one for all of equal size."""
WHOLE = "whole"


class FeatureFiles:
    """Up to `max_bytes` of tensors; what comes later is not written."""

    def __init__(self, folder: Path, max_bytes: int, base: str | Path, dtype: torch.dtype) -> None:
        provenance = provenance_of(base)
        self._made_with = [provenance.base_digest, provenance.processor_digest, str(dtype)]
        self._folder, self._max_bytes = folder, max_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._num_bytes = sum(path.stat().st_size for path in folder.glob("[!.]*.safetensors"))

    def write(self, image_ids: tuple[str, ...], features: Features) -> None:
        path = self._path(image_ids)
        num_bytes = num_feature_bytes(features)
        if path.exists() or self._num_bytes + num_bytes > self._max_bytes:
            return
        tensors = {WHOLE: features} if isinstance(features, Tensor) else dict(_numbered(features))
        with appears_whole(path) as temporary:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary
            )
        self._num_bytes += num_bytes

    def read(self, image_ids: tuple[str, ...], device: torch.device | str) -> Features | None:
        """None where they were never written, or were damaged."""
        try:
            tensors = load_file(self._path(image_ids), device=str(device))
        except (FileNotFoundError, SafetensorError):
            return None
        return tensors[WHOLE] if WHOLE in tensors else [tensors[name] for name in sorted(tensors)]

    def _path(self, image_ids: tuple[str, ...]) -> Path:
        key = json.dumps([*self._made_with, *image_ids]).encode()
        return self._folder / f"{hashlib.sha256(key).hexdigest()}.safetensors"


def num_feature_bytes(features: Features) -> int:
    return sum(feature.nbytes for feature in features)


def _numbered(features: list[Tensor]) -> list[tuple[str, Tensor]]:
    return [(f"{number:06d}", feature) for number, feature in enumerate(features)]
