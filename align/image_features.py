"""Features of images seen before: the vision tower is never adapted, so no adapter makes them stale.

Used by training and serving alike. Knows which images belong to a prompt by their SHA-256, and nothing of text.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .feature_files import FeatureFiles, Features, num_feature_bytes
from .rendering import Rendered


@dataclass(frozen=True)
class EncoderOutput:
    """What a forward pass reads of an encoder's output."""

    pooler_output: Features


class ImageFeatures:
    """Least recently used first out, beyond `max_bytes`: into `files`, where there are some.

    Models whose forward takes `mm_encoder_outputs` are served, which are transformers' own; others see their pixels.
    """

    def __init__(self, model: Any, max_bytes: int, files: FeatureFiles | None = None) -> None:
        self._model, self._files = model, files
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, ...], Features] = OrderedDict()
        self._num_bytes = 0
        encode = getattr(model, "get_image_features", None)
        self._encoder_arguments = set() if encode is None else set(inspect.signature(encode).parameters)
        takes_features = "mm_encoder_outputs" in inspect.signature(model.forward).parameters
        self.is_on = max_bytes > 0 and encode is not None and takes_features

    def replace_pixels(self, prompts: Sequence[Rendered]) -> tuple[Sequence[Rendered], dict[str, Any]]:
        """The prompts without their pixels, and what stands for those in a forward pass of them all."""
        with_images = [prompt for prompt in prompts if "pixel_values" in prompt.tensors]
        if not (self.is_on and with_images):
            return prompts, {}
        features = _joined([self._of(prompt) for prompt in with_images])
        return [_without_pixels(prompt) for prompt in prompts], {
            "mm_encoder_outputs": {"image": EncoderOutput(features)}
        }

    def _of(self, prompt: Rendered) -> Features:
        """One entry an image where each has its own row of pixels, else one for all images of the prompt."""
        pixels = prompt.tensors["pixel_values"]
        has_row_each = pixels.ndim == 4 and len(pixels) == len(prompt.image_ids)
        is_alone = {name for name in prompt.tensors if name in self._encoder_arguments} == {"pixel_values"}
        if not (has_row_each and is_alone):
            return self._entry(prompt.image_ids, prompt.tensors)
        rows = [{"pixel_values": row} for row in torch.split(pixels, 1)]
        return _joined(
            [self._entry((image_id,), row) for image_id, row in zip(prompt.image_ids, rows, strict=True)]
        )

    def _entry(self, key: tuple[str, ...], tensors: dict[str, Tensor]) -> Features:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        kept = self._files.read(key, self._model.device) if key and self._files else None
        features = self._encode(tensors) if kept is None else kept
        if key and all(torch.isfinite(feature).all() for feature in features):
            self._keep(key, features)
        return features

    @torch.no_grad()
    def _encode(self, tensors: dict[str, Tensor]) -> Features:
        device, dtype = self._model.device, self._model.dtype
        inputs = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for name, tensor in tensors.items()
            if name in self._encoder_arguments
        }
        output = self._model.get_image_features(**inputs, return_dict=True).pooler_output
        return output if isinstance(output, Tensor) else list(output)

    def _keep(self, key: tuple[str, ...], features: Features) -> None:
        self._kept[key] = features
        self._num_bytes += num_feature_bytes(features)
        while self._num_bytes > self._max_bytes:
            of, oldest = self._kept.popitem(last=False)
            self._num_bytes -= num_feature_bytes(oldest)
            if self._files is not None:
                self._files.write(of, oldest)


def _without_pixels(prompt: Rendered) -> Rendered:
    others = {name: tensor for name, tensor in prompt.tensors.items() if not name.startswith("pixel_")}
    return replace(prompt, tensors=others)


def _joined(features: Sequence[Features]) -> Features:
    if isinstance(features[0], Tensor):
        return torch.cat([part for part in features if isinstance(part, Tensor)])
    return [tensor for part in features for tensor in part]
