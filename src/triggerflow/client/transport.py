"""Requests to servers: which server gets a request, which failures are retried, and which answers are refused.

Every call can be repeated: it only reads, or it has an idempotency key, by which the server performs it once. So after
a failure of a connection, a server or a proxy the request is sent again, to the next server if there are several, after
a growing pause. Redirects are not followed, and neither environment variables nor a `.netrc` change where requests go.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from inspect import isawaitable
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import msgspec

from ..backend import BadRequest
from ..drivers.asyncio import REAL
from ..errors import StoreError, StoreUnavailable
from ..run import tracing
from ..wire import Event, EventDecoder, EventTooLarge, Problem, Route, error_of, path_to
from ..wire.events import EVENT_STREAM
from ..wire.problems import GATEWAY
from ..wire.routes import IDEMPOTENCY_KEY
from .addresses import read_addresses

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger("triggerflow.client")

#: A bearer token, or a function that returns the present one, also an async one.
Token = str | Callable[[], str | Awaitable[str]]

#: The first and the longest pause before another try, in seconds. Each is twice the one before; a random factor of 0.5
#: to 1 is applied.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: A stream that has been open for so many seconds counts as a successful try, even without an event.
STABLE_SECONDS = 5.0
#: How many bytes of the body of an error are read at most.
PROBLEM_BYTES = 64 * 1024

#: The codes of problems after which another try may succeed.
_AGAIN = frozenset(("busy", "stopping", "store_unavailable"))


class Broken(Exception):
    """A try has failed, and the next one may succeed. `error` is raised if no time is left for another try."""

    def __init__(self, why: str, error: Exception | None = None, pause: float = 0.0, *, sent: bool = True) -> None:
        super().__init__(why)
        #: whether the server may have received the request
        self.sent = sent
        self.error = error
        #: the `Retry-After` of the server, in seconds
        self.pause = pause


class Call(NamedTuple):
    """One call of a route."""

    route: Route
    parts: Mapping[str, str] = {}
    query: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    #: the idempotency key, by which the server performs the call once
    key: str | None = None
    #: how many seconds the server may wait before it answers
    wait: float = 0.0

    @property
    def path(self) -> str:
        """The percent-encoded path of the call."""
        return path_to(self.route, **self.parts)


class Settings(NamedTuple):
    """Options of the requests to servers; see `HTTPBackend`."""

    token: Token | None
    patience: float
    timeout: float
    connect_timeout: float
    silence: float
    limit: int
    ssl: SSLContext | None
    proxy: str | None


class Transport:
    """Sends requests to the servers of one store."""

    def __init__(self, urls: str | Sequence[str], settings: Settings, *, allow_http: bool) -> None:
        self.urls = read_addresses(urls, has_token=settings.token is not None, allow_http=allow_http)
        self.settings = settings
        self._at = 0
        #: a client belongs to the event loop that uses it
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = WeakKeyDictionary()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    # -- calls -------------------------------------------------------------------------------------------------------

    async def call(self, call: Call) -> Any:
        """Make a call, with further tries after failures, and return the decoded answer of the route.

        Raises the error that the server answers with, `StoreUnavailable` after `patience` seconds without success, and
        `StoreError` for an answer that no server of this version gives."""
        retries = Retries(self)
        while True:
            url = self.url
            try:
                body = await self._once(url, call)
            except Broken as broken:
                await retries.pause(url, broken)
            else:
                return self._read(url, call.route, body)

    def _read(self, url: str, route: Route, body: bytes) -> Any:
        try:
            return msgspec.json.decode(body, type=route.answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _no_server(url, f"what it answers to {route.name!r} is not the JSON of that") from None

    async def _once(self, url: str, call: Call) -> bytes:
        seconds = self.settings.timeout + call.wait
        limit = asyncio.timeout(seconds)
        try:
            async with limit, self._response(url, call, "application/json", seconds) as response:
                return await _body(response, self.settings.limit, url)
        except TimeoutError:
            if not limit.expired():
                raise  # what the server answers with
            raise Broken(f"it has not answered for {seconds:g} s") from None

    @asynccontextmanager
    async def _response(self, url: str, call: Call, accept: str, silence: float) -> "AsyncGenerator[httpx2.Response]":
        """Send a call to one server. Raises `Broken`, or the error that the server answers with."""
        import httpx2  # it takes a quarter of a second

        try:
            client = self._client()
            headers = await self._headers(call, accept)
            timeout = httpx2.Timeout(silence, connect=self.settings.connect_timeout, pool=None)
            request = client.build_request(
                call.route.method, url + call.path, params=list(call.query) or None, content=call.body,
                headers=headers, timeout=timeout,
            )  # fmt: skip
            response = await client.send(request, stream=True)
            try:
                if not 200 <= response.status_code < 300:
                    raise await _error(response, url)
                yield response
            finally:
                await response.aclose()
        except httpx2.TransportError as error:
            raise _broken(error) from None
        except httpx2.HTTPError as error:
            raise _no_server(url, type(error).__name__) from None

    async def _headers(self, call: Call, accept: str) -> dict[str, str]:
        headers = {"accept": accept, "accept-encoding": "identity"}
        if call.body is not None:
            headers["content-type"] = "application/json"
        if call.key is not None:
            if not _is_visible(call.key):
                raise BadRequest("the id of a request is sent in a header: it has only printable ASCII characters")
            headers[IDEMPOTENCY_KEY] = call.key
        trace = tracing.current()
        if trace is not None and _is_visible(trace):
            headers[tracing.TRACEPARENT] = trace
        token = self.settings.token
        if token is not None:
            found = token if isinstance(token, str) else token()
            found = await found if isawaitable(found) else found
            if not isinstance(cast("Any", found), str) or not found or not _is_visible(found):
                raise BadRequest("a token is a text of printable ASCII characters")
            headers["authorization"] = f"Bearer {found}"
        return headers

    def _client(self) -> "httpx2.AsyncClient":
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            import httpx2

            settings = self.settings
            client = self._clients[loop] = httpx2.AsyncClient(
                verify=self._verify(),
                proxy=settings.proxy,
                trust_env=False,
                follow_redirects=False,
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=4.0),
            )
        return client

    def _verify(self) -> SSLContext | bool:
        if self.settings.ssl is not None:
            return self.settings.ssl
        if any(url.startswith("https:") for url in self.urls):
            return True
        return SSLContext(PROTOCOL_TLS_CLIENT)  # trusts no certificate; loading those of the system takes 100 ms

    # -- streams -----------------------------------------------------------------------------------------------------

    async def events(self, url: str, call: Call) -> AsyncGenerator[list[Event]]:
        """The events of one connection to one server, as they arrive. Raises `Broken` when the connection ends."""
        decoder = EventDecoder(self.settings.limit)
        async with self._response(url, call, EVENT_STREAM, self.settings.silence) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != EVENT_STREAM:
                raise _no_server(url, f"it answers a request for events with {kind[:50]!r}")
            async with aclosing(response.aiter_raw()) as pieces:
                async for piece in pieces:
                    try:
                        events = decoder.feed(piece)
                    except EventTooLarge as error:
                        raise _no_server(url, str(error)) from None
                    if events:
                        yield events
        raise Broken("the stream was cut")

    async def pieces(self, call: Call) -> AsyncGenerator[bytes]:
        """A file in pieces. A failure before the first piece is retried; a later one raises `StoreUnavailable`."""
        retries = Retries(self)
        size = 0
        while True:
            url = self.url
            try:
                async with (
                    self._response(url, call, "*/*", self.settings.silence) as response,
                    aclosing(response.aiter_raw()) as pieces,
                ):
                    async for piece in pieces:
                        size += len(piece)
                        yield piece
                return
            except Broken as broken:
                if size:
                    raise StoreUnavailable(f"{url}: the file broke off after {size} bytes ({broken})") from None
                await retries.pause(url, broken)

    # -- servers -----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The address that requests go to now."""
        return self.urls[self._at]

    def leave(self, url: str) -> None:
        """Use the next address from now on, unless another call has done so already."""
        if self.url == url:
            self._at = (self._at + 1) % len(self.urls)


class Retries:
    """Counts the tries of one call or stream, pauses between them, and goes from server to server, for up to `patience`
    seconds since the first failure."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.tries = 0
        #: whether a server may have received one of the tries
        self._sent = False
        self._deadline = 0.0

    def succeeded(self) -> None:
        """Note that a try has succeeded: the next failure begins again with the first pause and the whole patience."""
        self.tries = 0

    async def pause(self, url: str, broken: Broken, *, opened: float | None = None) -> None:
        """Pause after a try that has failed. Raises its error if the patience is over.

        `opened`: when the stream that broke was opened, by the clock of the event loop.
        """
        transport, loop = self._transport, asyncio.get_running_loop()
        if opened is not None and loop.time() - opened >= STABLE_SECONDS:
            self.succeeded()
        urls, patience = transport.urls, transport.settings.patience
        if self.tries == 0:
            self._deadline = loop.time() + patience
        self.tries += 1
        self._sent = self._sent or broken.sent
        transport.leave(url)
        rounds, place = divmod(self.tries - 1, len(urls))
        longest = min(FIRST_PAUSE * 2 ** min(rounds, 16), LONGEST_PAUSE)
        pause = longest * (0.5 + REAL.random() / 2)
        if place < len(urls) - 1:
            pause *= 0.1  # the next server has not failed yet
        pause = max(pause, min(broken.pause, LONGEST_PAUSE))
        if loop.time() + pause > self._deadline:
            if broken.error is not None:
                raise broken.error from None
            tried = f"{', '.join(urls)}: no answer for {patience:g} s ({broken})"
            done = "whatever was asked may have been done" if self._sent else "it was never sent, so nothing was done"
            raise StoreUnavailable(f"{tried}; {done}") from None
        if self.tries == 1:
            logger.info("%s: %s; further tries follow for up to %g s", url, broken, patience)
        await asyncio.sleep(pause)


# -- answers -----------------------------------------------------------------------------------------------------------


async def _body(response: "httpx2.Response", limit: int, url: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    async with aclosing(response.aiter_raw()) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > limit:
                raise _no_server(url, f"an answer has more than {limit} bytes")
            parts.append(piece)
    return b"".join(parts)


async def _error(response: "httpx2.Response", url: str) -> Exception:
    """The exception for an answer with a status other than 2xx."""
    status = response.status_code
    if status < 400:
        return _no_server(url, f"it answers with status {status}, and redirects are not followed")
    body = await _body(response, PROBLEM_BYTES, url)
    error = error_of(status, body)
    try:
        again = msgspec.json.decode(body, type=Problem).code in _AGAIN
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        again = status in GATEWAY
    return Broken(str(error), error, _retry_after(response)) if again else error


def _retry_after(response: "httpx2.Response") -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _no_server(url: str, why: str) -> StoreError:
    return StoreError(f"{url} is no server of this version of triggerflow: {why}")


def _broken(error: "httpx2.TransportError") -> Exception:
    """The exception for a failed try. It has no link to the one of httpx2, which holds the request with the token."""
    text = str(error)
    why = f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreUnavailable(f"the server's certificate is not trusted: {text[:200]}")
    import httpx2

    return Broken(why, sent=not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout))


def _is_visible(text: str) -> bool:
    return text.isascii() and text.isprintable() and text.strip() == text
