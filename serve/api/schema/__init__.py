"""The bodies of requests and answers, one family a file. OpenAI's names where OpenAI has them."""

from .adapters import (
    AdapterAnswer,
    AdapterList,
    AdapterStoryAnswer,
    AdapterSummary,
    Change,
    ComparedVersion,
    ComparisonAnswer,
    PromoteRequest,
    RolloutAnswer,
)
from .alignments import AlignmentAnswer, AlignmentList
from .body import Body
from .chat import ChatMessage, ChatRequest, ImagePart, ImageURL, StreamOptions, TextPart
from .completions import CompletionAnswer
from .corrections import (
    CorrectionAnswer,
    CorrectionList,
    CorrectionOptions,
    CorrectionPreview,
    CorrectionQuery,
    CorrectionRequest,
    CorrectionStory,
    ExportQuery,
    SpanBody,
    UseAnswer,
)
from .erasures import ErasureAnswer
from .errors import ErrorAnswer, ErrorDetail
from .health import HealthAnswer, MetricsTarget, ReadinessAnswer
from .models import ModelAnswer, ModelList
from .queue import ClaimAnswer, ClaimQuery, ClaimRequest, ReleaseAnswer
from .responses import (
    ResponseFilter,
    ResponseLink,
    ResponseList,
    ResponseQuery,
    ResponseRecord,
    ResponseSummary,
)
from .reviews import ReviewRequest, WaitingCorrection, WaitingList
from .statistics import DayAnswer, NextRun, StatisticsAnswer, StatisticsQuery, VersionAnswer

__all__ = [
    "AdapterAnswer",
    "AdapterList",
    "AdapterStoryAnswer",
    "AdapterSummary",
    "AlignmentAnswer",
    "AlignmentList",
    "Body",
    "Change",
    "ChatMessage",
    "ChatRequest",
    "ClaimAnswer",
    "ClaimQuery",
    "ClaimRequest",
    "ComparedVersion",
    "ComparisonAnswer",
    "CompletionAnswer",
    "CorrectionAnswer",
    "CorrectionList",
    "CorrectionOptions",
    "CorrectionPreview",
    "CorrectionQuery",
    "CorrectionRequest",
    "CorrectionStory",
    "DayAnswer",
    "ErasureAnswer",
    "ErrorAnswer",
    "ErrorDetail",
    "ExportQuery",
    "HealthAnswer",
    "ImagePart",
    "ImageURL",
    "MetricsTarget",
    "ModelAnswer",
    "ModelList",
    "NextRun",
    "PromoteRequest",
    "ReadinessAnswer",
    "ReleaseAnswer",
    "ResponseFilter",
    "ResponseLink",
    "ResponseList",
    "ResponseQuery",
    "ResponseRecord",
    "ResponseSummary",
    "ReviewRequest",
    "RolloutAnswer",
    "SpanBody",
    "StatisticsAnswer",
    "StatisticsQuery",
    "StreamOptions",
    "TextPart",
    "UseAnswer",
    "VersionAnswer",
    "WaitingCorrection",
    "WaitingList",
]
