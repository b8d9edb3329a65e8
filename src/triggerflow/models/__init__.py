"""Model output as a source of signals: requests, responses and instant parsing.

`Response` reads any stream of text or chunks. `OpenAIProvider` (in `.openai`) and `AnthropicProvider` (in `.anthropic`)
send requests with the vendors' SDKs, which are optional extras.
"""

from .errors import (
    AnswerError,
    AuthenticationError,
    ChunkError,
    FieldsWithdrawnError,
    FirstTokenError,
    InvalidRequestError,
    InvalidResponseError,
    MissingExtraError,
    ModelError,
    OutputError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RefusalError,
    RequestFailedError,
    ResponseCancelled,
    ResponseUsageError,
    StallError,
    TransportError,
    TruncatedResponseError,
)
from .instant import Problem
from .outputs import Output, Part
from .request import Provider, Request
from .response import Attempt, Fields, Response, TextReset, ToolCall
from .shapes import Delta, ToolCallDelta

__all__ = [
    "AnswerError",
    "Attempt",
    "AuthenticationError",
    "ChunkError",
    "Delta",
    "Fields",
    "FieldsWithdrawnError",
    "FirstTokenError",
    "InvalidRequestError",
    "InvalidResponseError",
    "MissingExtraError",
    "ModelError",
    "Output",
    "OutputError",
    "Part",
    "Problem",
    "Provider",
    "ProviderError",
    "QuotaError",
    "RateLimitError",
    "RefusalError",
    "Request",
    "RequestFailedError",
    "Response",
    "ResponseCancelled",
    "ResponseUsageError",
    "StallError",
    "TextReset",
    "ToolCall",
    "ToolCallDelta",
    "TransportError",
    "TruncatedResponseError",
]
