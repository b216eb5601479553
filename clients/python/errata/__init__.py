"""Ask an Errata server, and correct what it answers. Everything of OpenAI's client is here too, and more."""

from .alignments import AsyncRequestedAlignment, RequestedAlignment
from .client import AsyncErrata, Errata
from .errors import (
    AlignmentTimeout,
    ErrataError,
    ReplyIncomplete,
    ResponseErased,
    UnsupportedImage,
    WordsAmbiguous,
    WordsNotFound,
)
from .reply import AsyncReply, Reply
from .streams import AsyncReplyStream, ReplyStream
from .types import (
    Adapter,
    AdapterList,
    AdapterStory,
    AdapterSummary,
    Alignment,
    Change,
    Comparison,
    Correction,
    CorrectionPreview,
    CorrectionStory,
    Erasure,
    Pair,
    Record,
    Rollout,
    Span,
    Use,
    WaitingCorrection,
)

__all__ = [
    "Adapter",
    "AdapterList",
    "AdapterStory",
    "AdapterSummary",
    "Alignment",
    "AlignmentTimeout",
    "AsyncErrata",
    "AsyncReply",
    "AsyncReplyStream",
    "AsyncRequestedAlignment",
    "Change",
    "Comparison",
    "Correction",
    "CorrectionPreview",
    "CorrectionStory",
    "Erasure",
    "Errata",
    "ErrataError",
    "Pair",
    "Record",
    "Reply",
    "ReplyIncomplete",
    "ReplyStream",
    "RequestedAlignment",
    "ResponseErased",
    "Rollout",
    "Span",
    "UnsupportedImage",
    "Use",
    "WaitingCorrection",
    "WordsAmbiguous",
    "WordsNotFound",
]
