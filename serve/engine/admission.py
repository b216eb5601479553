"""What an engine can never answer is refused at the door, before it waits. Knows no queue."""

from __future__ import annotations

from collections.abc import Mapping

from align.conversation import Conversation
from align.errors import AlignError
from align.rendering import Rendered, Renderer

from ..errors import InvalidPrompt, InvalidRequest
from .protocol import Sampling


def prepare(
    renderer: Renderer, conversation: Conversation, images: Mapping[str, bytes], max_model_len: int
) -> Rendered:
    """A prompt's model inputs. Raises `InvalidPrompt`."""
    try:
        rendered = renderer.render(conversation, images)
    except AlignError as error:
        raise InvalidPrompt(str(error)) from error
    check_length(rendered.num_tokens, max_model_len)
    return rendered


def check_length(num_prompt_tokens: int, max_model_len: int) -> None:
    """Raises `InvalidPrompt` where a prompt leaves no room for an answer."""
    if num_prompt_tokens >= max_model_len:
        raise InvalidPrompt(
            f"The prompt has {num_prompt_tokens} tokens and the model takes {max_model_len} with its answer: "
            "shorten it."
        )


def check_sampling(
    sampling: Sampling, num_prompt_tokens: int, max_model_len: int, num_token_ids: int
) -> None:
    """Raises `InvalidPrompt` where prompt and answer never fit, `InvalidRequest` for a bias on what is no token."""
    if sampling.max_tokens < 1 or num_prompt_tokens + sampling.max_tokens > max_model_len:
        raise InvalidPrompt(
            f"A prompt of {num_prompt_tokens} tokens leaves room for 1 to {max_model_len - num_prompt_tokens} more, "
            f"but max_tokens is {sampling.max_tokens}."
        )
    unknown = [token_id for token_id in sampling.logit_bias if not 0 <= token_id < num_token_ids]
    if unknown:
        raise InvalidRequest(
            f"logit_bias names {unknown[0]}, but the model's token ids are 0 to {num_token_ids - 1}."
        )
