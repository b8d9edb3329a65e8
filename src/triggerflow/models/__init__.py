"""Model output as a source of signals: requests, responses and instant parsing.

`Response` reads any stream of text or chunks. `OpenAIProvider` (in `.openai`) and `AnthropicProvider` (in `.anthropic`)
send requests with the vendors' SDKs, which are optional extras.
"""

from .answer import ToolCall
from .errors import (
    AnswerError,
    AuthenticationError,
    FirstTokenError,
    InvalidRequestError,
    InvalidResponseError,
    MissingExtraError,
    ModelError,
    OutputError,
    ProviderError,
    RateLimitError,
    RequestFailedError,
    ResponseCancelled,
    ResponseUsageError,
    StallError,
    TransportError,
    TruncatedResponseError,
)
from .instant import Problem
from .output import Output, Part
from .request import Provider, Request
from .response import Response
from .shapes import Delta, ToolCallDelta
from .views import TextReset

__all__ = [
    "AnswerError",
    "AuthenticationError",
    "Delta",
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
    "RateLimitError",
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
