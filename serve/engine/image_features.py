"""Features of images seen before, by SHA-256: the vision tower is not adapted, so no swap makes them stale."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor


class ImageFeatures:
    """Least recently used first out. Serves models of LLaVA's form: one row of pixels and one tensor per image."""

    def __init__(self, model: Any, max_bytes: int) -> None:
        self._model = model
        self._max_bytes = max_bytes
        self._features: OrderedDict[str, Tensor] = OrderedDict()
        self._num_bytes = 0
        takes_features = "mm_encoder_outputs" in inspect.signature(model.forward).parameters
        self._is_on = max_bytes > 0 and takes_features

    def replace_pixels(self, image_ids: tuple[str, ...], tensors: dict[str, Tensor]) -> dict[str, Any]:
        """The same forward inputs with features in place of pixels, or unchanged where the model has another form."""
        is_plain = set(tensors) == {"pixel_values"} and tensors["pixel_values"].shape[0] == len(image_ids)
        if not self._is_on or not is_plain:
            return dict(tensors)
        features = [
            self._of(image_id, tensors["pixel_values"][index : index + 1])
            for index, image_id in enumerate(image_ids)
        ]
        if not self._is_on:
            return dict(tensors)
        return {"mm_encoder_outputs": {"image": _Features(features)}}

    def _of(self, image_id: str, pixels: Tensor) -> Tensor:  # (1, C, H, W)
        if image_id in self._features:
            self._features.move_to_end(image_id)
            return self._features[image_id]
        output = self._model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
        if not (isinstance(output, list) and len(output) == 1):
            self._is_on = False
            return pixels
        features: Tensor = output[0]  # (patches, hidden)
        if torch.isfinite(features).all():
            self._keep(image_id, features)
        return features

    def _keep(self, image_id: str, features: Tensor) -> None:
        self._features[image_id] = features
        self._num_bytes += features.nbytes
        while self._num_bytes > self._max_bytes:
            _, oldest = self._features.popitem(last=False)
            self._num_bytes -= oldest.nbytes


class _Features:
    """What a forward reads of an encoder's output."""

    def __init__(self, pooler_output: list[Tensor]) -> None:
        self.pooler_output = pooler_output
