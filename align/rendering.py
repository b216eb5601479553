"""From a conversation to model inputs, for training and serving alike. Knows a processor, but no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import PIL.Image
import torch
from transformers import AutoProcessor, GenerationConfig

from .conversation import Conversation, Image, Text
from .errors import InvalidConversation, InvalidImage
from .images import upright


@dataclass(frozen=True)
class Rendered:
    input_ids: tuple[int, ...]
    """The prompt, with each image's placeholder repeated for every position that its features take."""
    tensors: dict[str, torch.Tensor]
    """What else the model's forward takes: `pixel_values` and its companions. Empty without images."""
    image_ids: tuple[str, ...] = ()
    """SHA-256 of each image, in the order of the placeholders."""

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids)


class Renderer:
    """Applies the chat template and the image processor of a model, which may be a plain tokenizer.

    Text that a person wrote never becomes a control token: `<image>` in a message is seven characters.
    """

    def __init__(self, processor: Any, eos_token_ids: tuple[int, ...] = ()) -> None:
        self._processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.eos_token_ids = eos_token_ids or _known_ids(self.tokenizer.eos_token_id)
        """Ids that end an answer; the first is the one to train with."""

    @classmethod
    def from_pretrained(cls, path_or_id: str | Path, revision: str | None = None) -> Renderer:
        """The end-of-sequence ids are those of `generation_config.json` where it names some."""
        processor = AutoProcessor.from_pretrained(path_or_id, revision=revision)
        try:
            generation = GenerationConfig.from_pretrained(path_or_id, revision=revision)
        except OSError:  # the file is optional
            return cls(processor)
        return cls(processor, _known_ids(generation.eos_token_id))

    @property
    def has_vision(self) -> bool:
        return getattr(self._processor, "image_processor", None) is not None

    def render(
        self, conversation: Conversation, images: Mapping[str, bytes], add_generation_prompt: bool = True
    ) -> Rendered:
        """`images` holds the encoded files by SHA-256.

        Raises `InvalidImage` for bytes that are missing or no image, `InvalidConversation` where the chat
        template or the processor refuses.
        """
        if conversation.image_ids and not self.has_vision:
            raise InvalidConversation("This model reads no images: send text only.")
        decoded = {sha256: decode_image(sha256, images) for sha256 in set(conversation.image_ids)}
        messages = [
            {"role": message.role, "content": self._content(message.parts, decoded)}
            for message in conversation.messages
        ]
        try:
            inputs = self._apply_template(messages, add_generation_prompt)
        except (ValueError, TypeError, KeyError, IndexError, jinja2.TemplateError) as error:
            raise InvalidConversation(f"The model's chat template cannot render this: {error}") from error
        tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        input_ids = tensors.pop("input_ids")[0].tolist()
        tensors.pop("attention_mask", None)  # all ones: one conversation is never padded
        return Rendered(tuple(input_ids), tensors, conversation.image_ids)

    def _content(self, parts: tuple[Text | Image, ...], decoded: Mapping[str, PIL.Image.Image]) -> Any:
        if not self.has_vision:
            return "".join(part.text for part in parts if isinstance(part, Text))
        return [
            {"type": "text", "text": part.text}
            if isinstance(part, Text)
            else {"type": "image", "image": decoded[part.sha256]}
            for part in parts
        ]

    def _apply_template(
        self, messages: list[dict[str, Any]], add_generation_prompt: bool
    ) -> Mapping[str, Any]:
        inputs: Mapping[str, Any] = self._processor.apply_chat_template(
            messages if self._writes_special_tokens else self._without_control_tokens(messages),
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            sanitize_control_tokens=self._writes_special_tokens,
        )
        return inputs

    @cached_property
    def _writes_special_tokens(self) -> bool:
        """Whether the chat template writes them all, so that a person's can be told apart."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        post_processor = getattr(backend, "post_processor", None)
        if post_processor is None or post_processor.num_special_tokens_to_add(False) == 0:
            return True
        bos = self.tokenizer.bos_token
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "text", "text": "a"}] if self.has_vision else "a"}],
            tokenize=False,
        )
        return not self.has_vision or (bos is not None and prompt.startswith(bos))

    def _without_control_tokens(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        control_tokens = [
            token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special
        ]
        for message in messages:
            texts = [part["text"] for part in message["content"] if part["type"] == "text"]
            for token in control_tokens:
                if any(token in text for text in texts):
                    raise ValueError(f"{token!r} in a message is a control token of the model: leave it out.")
        return messages


def decode_image(sha256: str, images: Mapping[str, bytes]) -> PIL.Image.Image:
    """The first frame, upright, as RGB. Raises `InvalidImage`."""
    try:
        encoded = images[sha256]
    except KeyError:
        raise InvalidImage(f"The bytes of image {sha256[:12]} are missing: send them along.") from None
    try:
        return upright(encoded)
    except InvalidImage as error:
        raise InvalidImage(f"Image {sha256[:12]} cannot be decoded: {error}") from error


def _known_ids(ids: int | list[int] | None) -> tuple[int, ...]:
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else tuple(ids)
