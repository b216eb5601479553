"""What can go wrong on this side. What the server refuses comes as OpenAI's own exceptions.

openai.OpenAIError
├── openai.APIError ... openai.APIStatusError
│   └── ResponseErased     the answer was deleted (410): what refers to it can be dropped
└── ErrataError
    ├── UnsupportedImage   no image that a server could read
    ├── WordsNotFound      the words to be corrected are not in the reply
    ├── WordsAmbiguous     ... or stand there more than once
    ├── ReplyIncomplete    a stream broke off, or was not read to its end
    └── AlignmentTimeout   a run took longer than the caller wanted to wait

A package that only one method needs and that is not installed is Python's own `ImportError`.
"""

from __future__ import annotations

from openai import APIStatusError, OpenAIError

from .types import Alignment


class ErrataError(OpenAIError):
    """The root: says what happened and what to do next."""


class ResponseErased(APIStatusError):
    @classmethod
    def of(cls, error: APIStatusError) -> ResponseErased:
        return cls(error.message, response=error.response, body=error.body)


class UnsupportedImage(ErrataError):
    pass


class WordsNotFound(ErrataError):
    pass


class WordsAmbiguous(ErrataError):
    pass


class ReplyIncomplete(ErrataError):
    pass


class AlignmentTimeout(ErrataError):
    """The run goes on; `alignment` is how it stood when the wait ended."""

    def __init__(self, message: str, alignment: Alignment) -> None:
        super().__init__(message)
        self.alignment = alignment
