"""What can go wrong on this side. What the server refuses comes as OpenAI's own exceptions.

openai.OpenAIError
└── ErrataError
    ├── UnsupportedImage   no image that a server could read
    ├── WordsNotFound      the words to be corrected are not in the reply
    ├── WordsAmbiguous     ... or stand there more than once
    ├── ReplyIncomplete    a stream broke off, or was not read to its end
    └── AlignmentTimeout   a run took longer than the caller wanted to wait
"""

from openai import OpenAIError

from .types import Alignment


class ErrataError(OpenAIError):
    """The root: says what happened and what to do next."""


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
