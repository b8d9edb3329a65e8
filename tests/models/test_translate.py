"""An error that a provider reports is of the class that says whose fault it is, whatever form it has."""

from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from triggerflow.models import (
    AuthenticationError,
    InvalidRequestError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RequestFailedError,
    TransportError,
)
from triggerflow.models.shapes import reported_error
from triggerflow.models.sources import translate

REQUEST = httpx2.Request("POST", "http://localhost/v1")


@pytest.mark.parametrize(
    ("said", "kind", "status"),
    [
        # OpenAI
        ({"message": "m", "type": "server_error", "param": None, "code": None}, ProviderError, None),
        ({"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}, RateLimitError, None),
        ({"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}, QuotaError, None),
        ({"message": "m", "type": "invalid_request_error", "code": "invalid_api_key"}, AuthenticationError, None),
        (
            {"message": "m", "type": "invalid_request_error", "code": "context_length_exceeded"},
            InvalidRequestError,
            None,
        ),
        ({"message": "m", "type": "invalid_request_error", "code": "model_not_found"}, InvalidRequestError, None),
        # Anthropic
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, ProviderError, None),
        ({"type": "error", "error": {"type": "api_error", "message": "m"}}, ProviderError, None),
        ({"type": "error", "error": {"type": "timeout_error", "message": "m"}}, ProviderError, None),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, RateLimitError, None),
        ({"type": "error", "error": {"type": "authentication_error", "message": "m"}}, AuthenticationError, None),
        ({"type": "error", "error": {"type": "permission_error", "message": "m"}}, AuthenticationError, None),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "m"}}, InvalidRequestError, None),
        ({"type": "error", "error": {"type": "not_found_error", "message": "m"}}, InvalidRequestError, None),
        ({"type": "error", "error": {"type": "request_too_large", "message": "m"}}, InvalidRequestError, None),
        # Gemini
        ({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}, ProviderError, 503),
        ([{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}][0], RateLimitError, 429),
        ({"error": {"message": "m", "status": "INVALID_ARGUMENT"}}, InvalidRequestError, None),
        # OpenRouter, vLLM, llama.cpp, Ollama, proxies
        ({"code": 502, "message": "m", "metadata": {"raw": "the upstream's words"}}, ProviderError, 502),
        ({"code": "429", "message": "m"}, RateLimitError, 429),
        ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, InvalidRequestError, 400),
        ({"object": "error", "message": "m", "type": "NotFoundError", "code": None}, InvalidRequestError, None),
        ({"error": {"code": 500, "message": "m", "type": "server_error"}}, ProviderError, 500),
        ({"error": "m"}, ProviderError, None),
        ({"error": {"message": "m", "code": 401}}, AuthenticationError, 401),
        ({"errors": [{"message": "m", "code": 7003}]}, ProviderError, None),
        ({"__type": "ThrottlingException", "message": "m"}, RateLimitError, None),
        ("m", ProviderError, None),
        (SimpleNamespace(type="overloaded_error", message="m"), ProviderError, None),
        (SimpleNamespace(error=SimpleNamespace(code=404, message="m")), InvalidRequestError, 404),
    ],
    ids=str,
)
def test_the_code_or_type_decides(said: Any, kind: type[RequestFailedError], status: int | None) -> None:
    error = reported_error(said)
    assert (type(error), error.status) == (kind, status)
    assert "in its stream: m" in str(error)


def test_the_message_shows_what_was_said_and_its_code() -> None:
    said = {"code": 502, "message": "Provider returned error", "metadata": {"raw": "out of memory"}}
    assert str(reported_error({"error": said})) == (
        "the provider reported an error in its stream: Provider returned error | out of memory (502)"
    )
    assert "is odd" in str(reported_error({"odd": "shape is odd"}))
    assert len(str(reported_error({"error": "<p>\n" * 10_000}))) < 600


class SdkError(Exception):
    def __init__(self, **fields: Any) -> None:
        super().__init__("told by the SDK")
        for name, value in fields.items():
            setattr(self, name, value)


class APIError(SdkError): ...


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SdkError(status_code=200, body={"error": {"type": "overloaded_error"}}), ProviderError),
        (SdkError(status_code=200, body={"error": {"type": "invalid_request_error"}}), InvalidRequestError),
        (SdkError(status_code=200, body="<garbage>"), ProviderError),
        (SdkError(response=httpx2.Response(200)), ProviderError),
        (SdkError(response=httpx2.Response(429)), RateLimitError),
        (SdkError(status_code=-1), ProviderError),
        (SdkError(status_code=302), InvalidRequestError),
        (APIError(body={"code": "rate_limit_exceeded", "message": "m"}), RateLimitError),
        (APIError(code=400, status="INVALID_ARGUMENT", message="m"), InvalidRequestError),
        (APIError(body=None), ProviderError),
        (httpx2.ReadError("gone"), TransportError),
        (httpx2.RemoteProtocolError("incomplete chunked read"), TransportError),
        (httpx2.DecodingError("bad gzip"), TransportError),
        (httpx2.ConnectTimeout("late"), TransportError),
        (ConnectionResetError(), TransportError),
        (EOFError(), TransportError),
    ],
    ids=str,
)
def test_exceptions_of_sdks(error: Exception, kind: type[RequestFailedError]) -> None:
    assert type(translate(error)) is kind


def test_a_connection_error_tells_its_cause() -> None:
    error = type("APIConnectionError", (Exception,), {})("Connection error.")
    error.__cause__ = httpx2.ReadError("peer closed connection")
    assert str(translate(error)) == ("the connection to the provider failed: Connection error. peer closed connection")


@pytest.mark.parametrize(
    "cause",
    [
        httpx2.UnsupportedProtocol("Request URL is missing an 'http://' or 'https://' protocol."),
        httpx2.LocalProtocolError("Illegal header value b'Bearer secret\\n'"),
        httpx2.InvalidURL("Invalid port: ':1'"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_request_that_cannot_be_sent_is_not_asked_again_and_shows_no_key(cause: Exception) -> None:
    error = type("APIConnectionError", (Exception,), {})("Connection error.")
    error.__cause__ = cause
    for raised in (error, cause):
        told = translate(raised)
        assert type(told) is InvalidRequestError
        assert "check base_url" in str(told)
        assert "secret" not in str(told)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_pause_that_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    told: Any = translate(SdkError(response=httpx2.Response(429, headers=headers)))
    assert (type(told), told.retry_after) == (RateLimitError, seconds)


@pytest.mark.parametrize("error", [KeyError("mine"), ValueError("mine"), RuntimeError("mine")])
def test_other_exceptions_stay_as_they_are(error: Exception) -> None:
    assert translate(error) is error
