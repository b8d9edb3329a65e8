"""The HTTP response behind an SDK's stream: every byte is a sign of life, and a body that is no answer is an error.

A server, or what answers in its place, may answer HTTP 200 with a web page, an error object, a whole answer or one JSON
object per line. The SDKs look for events in all of these, find none, and report an empty stream. So the beginning of
the body is looked at before the SDK reads it. It decides, not the content type, which many servers get wrong.

This works for the streams of the `openai` and `anthropic` SDKs, async and sync, whoever has made the client, and for
what is like them: an object whose attribute `response` is a response of `httpx` whose body was not read yet.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, Literal, NamedTuple, cast

from ..errors import InvalidRequestError, ProviderError, TransportError, shortened
from ..shapes import Delta, reported_error, reports_error, shape_of
from .events import EventFilter

_EVENT_STREAM = "text/event-stream"
_FIELDS = (b"data", b"event", b"id", b"retry")
_BLANK = b"\xef\xbb\xbf \t\r\n"
_SAYS_NOTHING = re.compile(rb"(?:\s|(?:|id|retry):[^\r\n]*)*")
"""Comments and blank lines, which keep a connection alive, and fields for reconnecting."""
_EVENT = re.compile(rb"^data:.*?(\n\n|\r\r|\r\n\r\n)", re.DOTALL | re.MULTILINE)
_KEPT = 1_000
"""So many bytes of the beginning are shown in error messages."""
_LOOKED_AT = 64_000
"""The most bytes among which the end of the first event is looked for."""
_LONGEST = 64_000_000
"""The most bytes of a whole answer."""
_ENDS = {"LengthFinishReasonError": "length", "ContentFilterFinishReasonError": "content_filter"}
"""Names of the errors with which the stream helpers of OpenAI's SDK end at a limit or a filter -> the finish reason."""


ENDED = object()
"""The last chunk of a stream in which the server has said that this was all; few of them give no finish reason."""


class Plain(NamedTuple):
    """A chunk that is no object of the SDK, so that an adapter for these cannot read it."""

    chunk: Any


def response_of(stream: Any) -> Any:
    """The HTTP response behind a stream; None for any other source, and for a response that was begun already."""
    for holder in (stream, getattr(stream, "_raw_stream", None)):  # the stream helpers of the SDKs hold a stream
        response: Any = getattr(holder, "response", None)
        if isinstance(getattr(response, "headers", None), Mapping) and hasattr(response, "iter_bytes"):
            return None if response.is_stream_consumed else response
    return None


async def watched(stream: AsyncIterable[Any], response: Any, alive: Callable[[], None]) -> AsyncGenerator[Any, None]:
    """Yield the items of an SDK's stream, or `Plain` chunks of a body of JSON. `alive` is called for every piece of it.

    Raises `InvalidRequestError` for a body that is no answer, the error that the body reports, `ProviderError` for a
    stream without events or with an event that is no JSON, `TransportError` for JSON that was cut, and the exceptions
    of the SDK.
    """
    body = _Body(response)

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body.beginning
        async for piece in pieces:
            alive()
            body.note(piece)
            yield piece

    async def read(*_: Any, **__: Any) -> AsyncGenerator[bytes, None]:
        async for piece in whole():
            if passed := body.events.take(piece):
                yield passed
        if rest := body.events.end():
            yield rest

    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            alive()
            if body.take(piece):
                break
        if body.kind == "json":
            values = _JsonValues()
            async for piece in whole():
                for chunk in values.take(piece):
                    yield chunk
            for chunk in values.end():
                yield chunk
            return
        body.require_events()
        response.aiter_bytes = read  # the SDK reads the body by this method; what is like an SDK may use the other one
        response.aiter_raw = read
        try:
            async for item in stream:
                body.has_events = True
                yield item
        except Exception as error:
            yield body.ending(error)
        finally:
            del response.aiter_bytes, response.aiter_raw
        body.require_an_event()
        if body.events.done:
            yield Plain(ENDED)


def watched_sync(stream: Iterable[Any], response: Any, alive: Callable[[], None]) -> Generator[Any, None, None]:
    """What `watched` does, for a sync stream."""
    body = _Body(response)

    def whole() -> Generator[bytes, None, None]:
        yield body.beginning
        for piece in pieces:
            alive()
            body.note(piece)
            yield piece

    def read(*_: Any, **__: Any) -> Generator[bytes, None, None]:
        for piece in whole():
            if passed := body.events.take(piece):
                yield passed
        if rest := body.events.end():
            yield rest

    with closing(response.iter_bytes()) as pieces:
        for piece in pieces:
            alive()
            if body.take(piece):
                break
        if body.kind == "json":
            values = _JsonValues()
            for piece in whole():
                yield from values.take(piece)
            yield from values.end()
            return
        body.require_events()
        response.iter_bytes = response.iter_raw = read
        try:
            for item in stream:
                body.has_events = True
                yield item
        except Exception as error:
            yield body.ending(error)
        finally:
            del response.iter_bytes, response.iter_raw
        body.require_an_event()
        if body.events.done:
            yield Plain(ENDED)


class _Body:
    """What the beginning of a body says of the rest."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._type: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.beginning = b""
        """The bytes that were taken, without blank ones in front: keep-alives, or the mark of UTF-8."""
        self.kind: Literal["events", "json", "page", "text", None] = None
        self.has_events = False
        self.events = EventFilter()

    def take(self, piece: bytes) -> bool:
        """Add a piece; return whether the kind is known."""
        self.beginning = (self.beginning + piece).lstrip(_BLANK)
        first = self.beginning[:1]
        if first in (b"{", b"["):
            self.kind = "json"
        elif first == b"<":
            self.kind = "page"
        elif first == b":":
            self.kind = "events"
        elif first:
            field = re.split(rb"[:\r\n]", self.beginning[:8])[0]
            if field in _FIELDS and len(field) < len(self.beginning):
                self.kind = "events"
            elif not any(name.startswith(field) for name in _FIELDS):
                # A line that a reader of events has to ignore, if events were announced.
                self.kind = "events" if self._type == _EVENT_STREAM else "text"
        return self.kind is not None and (self.kind in ("events", "json") or len(self.beginning) >= _KEPT)

    def note(self, piece: bytes) -> None:
        """Add a piece that the SDK reads, as long as it has found no event."""
        if not self.has_events and len(self.beginning) < _LOOKED_AT:
            self.beginning += piece

    def require_events(self) -> None:
        """Raise the error of a body that is no event stream."""
        announced = self._type == _EVENT_STREAM
        if self.kind == "events" or (self.kind is None and self.beginning and announced):
            return
        if not self.beginning and announced:
            raise ProviderError("the provider's stream ended before its first event (HTTP 200, an empty body)")
        page, nothing = self.kind == "page", not self.beginning
        raise self._no_answer("a web page" if page else "an empty body" if nothing else "text that is no event stream")

    def require_an_event(self) -> None:
        """Raise the error of a stream that ended without an event in which the SDK finds anything."""
        if self.has_events or b"[DONE]" in self.beginning:
            return
        if not self.events.passed or _SAYS_NOTHING.fullmatch(self.beginning):
            raise ProviderError("the provider's stream ended before its first event")
        if not _EVENT.search(self.beginning):
            raise TransportError("the provider's stream broke off in the middle of its first event")
        raise self._no_answer("a stream in which the SDK finds no event")

    def ending(self, error: Exception) -> Plain:
        """The chunk that an exception of the SDK stands for; raises the exception if it is an error."""
        if isinstance(error, json.JSONDecodeError):
            raise ProviderError(
                f"the provider's stream contains an event that is no JSON: {shortened(error.doc)!r}"
            ) from error
        if isinstance(error, UnicodeDecodeError):
            raise ProviderError(f"the provider's stream contains a line that is no UTF-8: {error}") from error
        reason = _ENDS.get(type(error).__name__)
        if reason is None:
            raise error
        self.has_events = True
        return Plain(Delta(finish_reason=reason, raw=error))

    def _no_answer(self, what: str) -> InvalidRequestError:
        request = self._response.request
        address = re.sub(r"//[^/@]*@", "//", str(request.url).partition("?")[0])  # without passwords and keys
        usual = "without /v1" if address.endswith("/messages") else "…/v1"
        begins = repr(shortened(self.beginning[:_KEPT].decode("utf-8", "replace")))
        return InvalidRequestError(
            f"the server answered with {what}: is base_url right ({usual})? {request.method} {address} gave HTTP 200"
            + (f" and {begins}" if self.beginning else ""),
            status=200,
        )


class _JsonValues:
    """Reads a JSON body: one value over the whole body, or a value in each line, which is yielded when it is there."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._by_line: bool | None = None
        """Whether the first line is a value by itself; None while it is not known."""

    def take(self, piece: bytes) -> Iterator[Plain]:
        """Add a piece; yield the chunks in the lines that end in it."""
        self._size += len(piece)
        if self._size > _LONGEST:
            raise InvalidRequestError(f"the server answered with more than {_LONGEST} bytes of JSON", status=200)
        self._pieces.append(piece)
        if b"\n" not in piece or self._by_line is False:
            return
        lines = b"".join(self._pieces).split(b"\n")
        if self._by_line is None:
            self._by_line = _is_json(lines[0])
        if self._by_line:
            self._pieces = [lines.pop()]
            for line in lines:
                yield from self._read(line)

    def end(self) -> Iterator[Plain]:
        """Yield the chunks in what remains. Raises `TransportError` if it is the beginning of a value only."""
        yield from self._read(b"".join(self._pieces))

    def _read(self, text: bytes) -> Iterator[Plain]:
        if not text.strip():
            return
        try:
            value = json.loads(text)
        except ValueError as error:
            shown = repr(shortened(text[-_KEPT:].decode("utf-8", "replace")))
            if isinstance(error, json.JSONDecodeError) and (
                error.msg.startswith("Unterminated") or not error.doc[error.pos :].strip()
            ):
                raise TransportError(f"the server's answer breaks off in the middle of its JSON: {shown}") from None
            raise InvalidRequestError(
                f"the server answered with text that is neither JSON nor a stream of events ({error}): {shown}",
                status=200,
            ) from None
        yield from _chunks(value)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _chunks(value: Any) -> Iterator[Plain]:
    for body in cast("list[Any]", value) if isinstance(value, list) else [value]:  # Gemini gives its chunks as a list
        if isinstance(body, Mapping) and reports_error(cast("Mapping[str, Any]", body)):
            raise reported_error(body, "in place of an answer (HTTP 200)")
        if not isinstance(body, Mapping) or shape_of(body) is None:
            raise InvalidRequestError(
                "the server answered with JSON that is no answer (HTTP 200): is base_url right? It is"
                f" {shortened(json.dumps(body, ensure_ascii=False))}",
                status=200,
            )
        yield Plain(body)
