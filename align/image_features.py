"""Features of images seen before: the vision tower is never adapted, so no adapter makes them stale.

Used by training and serving alike. Knows which images belong to a prompt by their SHA-256, and nothing of text.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
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


@dataclass(frozen=True)
class Entry:
    """What is encoded and kept as one."""

    image_ids: tuple[str, ...]  # empty where they are not known, and then it is not kept
    tensors: dict[str, Tensor]
    shape: torch.Size | None = None  # of one image's pixels, where they are all that the encoder takes

    @property
    def key(self) -> Hashable:
        return self.image_ids or id(self)


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
        entries = [entry for prompt in with_images for entry in self._entries(prompt)]
        features = _joined(self._of(entries))
        return [_without_pixels(prompt) for prompt in prompts], {
            "mm_encoder_outputs": {"image": EncoderOutput(features)}
        }

    def _entries(self, prompt: Rendered) -> list[Entry]:
        """One an image where each has its own row of pixels, else one for all images of the prompt."""
        pixels = prompt.tensors["pixel_values"]
        has_row_each = pixels.ndim == 4 and len(pixels) == len(prompt.image_ids)
        is_alone = {name for name in prompt.tensors if name in self._encoder_arguments} == {"pixel_values"}
        if not (has_row_each and is_alone):
            return [Entry(prompt.image_ids, prompt.tensors)]
        return [
            Entry((image_id,), {"pixel_values": row}, row.shape)
            for image_id, row in zip(prompt.image_ids, torch.split(pixels, 1), strict=True)
        ]

    def _of(self, entries: Sequence[Entry]) -> list[Features]:
        found = {entry.key: kept for entry in entries if (kept := self._read(entry.image_ids)) is not None}
        new = {entry.key: entry for entry in entries if entry.key not in found}
        for batch in _batches(new.values()):
            for entry, features in zip(batch, self._encode_all(batch), strict=True):
                found[entry.key] = features
                self._keep(entry.image_ids, features)
        return [found[entry.key] for entry in entries]

    def _read(self, image_ids: tuple[str, ...]) -> Features | None:
        if image_ids in self._kept:
            self._kept.move_to_end(image_ids)
            return self._kept[image_ids]
        if not (image_ids and self._files):
            return None
        features = self._files.read(image_ids, self._model.device)
        if features is not None:
            self._keep(image_ids, features)
        return features

    def _encode_all(self, entries: Sequence[Entry]) -> list[Features]:
        if len(entries) == 1:
            return [self._encode(entries[0].tensors)]
        pixels = torch.cat([entry.tensors["pixel_values"] for entry in entries])
        features = self._encode({"pixel_values": pixels})
        if len(features) != len(entries):  # the encoder does not give them image by image
            return [self._encode(entry.tensors) for entry in entries]
        if isinstance(features, Tensor):  # copies, that none keeps the memory of all
            return [row.clone() for row in torch.split(features, 1)]
        return [[row.clone()] for row in features]

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

    def _keep(self, image_ids: tuple[str, ...], features: Features) -> None:
        if not image_ids or not all(torch.isfinite(feature).all() for feature in features):
            return
        self._kept[image_ids] = features
        self._num_bytes += num_feature_bytes(features)
        while self._num_bytes > self._max_bytes:
            of, oldest = self._kept.popitem(last=False)
            self._num_bytes -= num_feature_bytes(oldest)
            if self._files is not None:
                self._files.write(of, oldest)


def _batches(entries: Iterable[Entry]) -> list[list[Entry]]:
    """What is encoded in one pass: images of one size, and any other entry alone."""
    batches: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        batches.setdefault(entry.shape or entry.key, []).append(entry)
    return list(batches.values())


def _without_pixels(prompt: Rendered) -> Rendered:
    others = {name: tensor for name, tensor in prompt.tensors.items() if not name.startswith("pixel_")}
    return replace(prompt, tensors=others)


def _joined(features: Sequence[Features]) -> Features:
    if isinstance(features[0], Tensor):
        return torch.cat([part for part in features if isinstance(part, Tensor)])
    return [tensor for part in features for tensor in part]
