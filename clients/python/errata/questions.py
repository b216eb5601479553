"""A question as the arguments of a chat completion. Sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from typing_extensions import TypedDict

from .images import Image, image_url

Images: TypeAlias = "Image | Sequence[Image]"

HERE = ("model", "system", "history", "max_image_side")
"""Options that become something else here."""
OWN = ("feedback_token",)
"""Options that OpenAI's clients do not know."""


class Options(TypedDict, total=False):
    """What may be said about how to answer; what is left out is the server's choice."""

    model: str
    """Default: the model that the server lists first. `NAME@v0012` pins a version of its adapter."""
    system: str
    history: list[dict[str, Any]]
    """What was said before the question, as messages of `chat.completions.create`."""
    temperature: float
    """0 is greedy."""
    top_p: float
    max_tokens: int
    seed: int
    stop: str | list[str]
    user: str
    """Who asks, for the server's records."""
    max_image_side: int
    """Pixels: an image that is longer or higher is made smaller before it is sent, which needs Pillow."""
    feedback_token: bool
    """Whether the reply brings a token with which a browser may correct it."""


def chat_arguments(question: str, image: Images | None, options: Options, model: str) -> dict[str, Any]:
    """The images come before the words, as vision-language models are trained to read them."""
    max_side = options.get("max_image_side")
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": image_url(one, max_side)}} for one in _each(image)
    ]
    messages: list[dict[str, Any]] = []
    if "system" in options:
        messages.append({"role": "system", "content": options["system"]})
    messages += options.get("history", [])
    messages.append({"role": "user", "content": [*parts, {"type": "text", "text": question}]})
    others = {name: value for name, value in options.items() if name not in (*HERE, *OWN)}
    own = {name: value for name, value in options.items() if name in OWN}
    return {"model": model, "messages": messages, **others, "extra_body": own}


def _each(image: Images | None) -> Sequence[Image]:
    if image is None:
        return []
    return image if isinstance(image, (list, tuple)) else [image]  # type: ignore[list-item]  # str and bytes are one image
