"""How true an answer is of a world whose contents are known: the embedded scenes, where nothing is estimated."""

from __future__ import annotations

from ..conversation import Image, Text
from ..examples import Example
from ..scenes.captions import CAPTION_PROMPTS
from ..scenes.draw import scene_of
from ..scenes.score import score
from ..scenes.world import Scene
from .measured import Truth


def scene_described(example: Example) -> Scene | None:
    """The scene that the conversation asks to describe; none where it asks otherwise, or about something else."""
    parts = [part for message in example.conversation.messages for part in message.parts]
    texts = [part.text for part in parts if isinstance(part, Text)]
    images = [part.sha256 for part in parts if isinstance(part, Image)]
    if len(texts) != 1 or len(images) != 1 or texts[0] not in CAPTION_PROMPTS:
        return None
    return scene_of(example.images[images[0]])


def truth_of(answer: str, scene: Scene) -> Truth:
    scored = score(answer, scene)
    return Truth(tuple(sorted({claim.kind for claim in scored.wrong})), scored.coverage)
