"""`HTTPBackend`: a `Backend` over HTTP."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from ssl import SSLContext
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from ..backend import (
    MAX_PAGE,
    MAX_WAIT,
    AnyAction,
    BadRequest,
    ChangesInfo,
    Contract,
    DifferenceInfo,
    Done,
    Drawing,
    ExecutionInfo,
    ExecutionPage,
    FlowInfo,
    Frame,
    Item,
    QuestionPage,
    ResultInfo,
    Reuse,
    StateInfo,
)
from ..backend.arguments import check_request, check_wait
from ..backend.protocol import ACTION_WAIT
from ..backend.shapes import StatusName
from ..build.arguments import seconds, whole
from ..drivers.asyncio import REAL
from ..errors import ExecutionExists, PayloadError
from ..flow import UNSET
from ..wire import ACTION_ROUTES, ForkBody, StartBody, body_of
from ..wire.events import FRAME, ITEM, MAX_EVENT
from ..wire.routes import route
from .changes import Changes
from .following import Numbered, follow
from .transport import Call, Settings, Token, Transport
from .values import as_json

T = TypeVar("T")

_FLOWS, _CONTRACT, _DRAWING, _START = route("flows"), route("contract"), route("drawing"), route("start")
_EXECUTIONS, _COUNTS, _GET, _STATE = route("executions"), route("counts"), route("get"), route("state")
_FRAMES, _STREAM, _RESULT, _DIFF = route("frames"), route("stream"), route("result"), route("diff")
_EXPORT, _FORK, _QUESTIONS = route("export"), route("fork"), route("questions")


class HTTPBackend:
    """A `Backend` over HTTP: the executions of a `triggerflow.server`, or of several servers over one store.

    `urls` is an address such as "https://flows.example.com", with the path that the application is mounted under, or a
    list of addresses: the client uses one until it fails, then the next. `token` is a bearer token, or a function, also
    an async one, that returns the present token. Use it in `async with`, or call `aclose()`; in a script, use `Client`.

    After a connection error, or an answer that allows another try, the client repeats the request, with growing pauses,
    for up to `patience` seconds (`math.inf`: without end); then it raises `StoreUnavailable`. A call that changes
    something carries an idempotency key, so that the server performs it once. After a break a stream resumes behind the
    last number that the client has received, without gaps or duplicates. All other errors are those of the method in
    process.

    `timeout` is how many seconds an answer may take, beyond the `wait` of a method; `connect_timeout`, how many the
    connection may take. A stream without a byte for `silence` seconds (servers send a comment every 15) counts as
    broken. `limit` is the size in bytes of the largest answer or event that the client accepts. `ssl` and `proxy` are
    those of an `httpx2.AsyncClient`.

    Redirects are never followed. Raises `BadRequest` for a text that is no address of a server, and where a token would
    be sent unencrypted to another machine, unless `allow_http`. Values that are sent are JSON, or dataclasses, msgspec
    structs, Pydantic models and members of enums, which are sent as the JSON of their fields; others raise
    `PayloadError`.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        token: Token | None = None,
        allow_http: bool = False,
        patience: float = 30.0,
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        silence: float = 45.0,
        limit: int = MAX_EVENT,
        ssl: SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        _require_httpx()
        where = "HTTPBackend"
        seconds(patience, where, "patience")
        seconds(timeout, where, "timeout", above=True)
        seconds(connect_timeout, where, "connect_timeout", above=True)
        seconds(silence, where, "silence", above=True)
        whole(limit, where, "limit", 1)
        settings = Settings(token, patience, timeout, connect_timeout, silence, limit, ssl, proxy)
        self._transport = Transport(urls, settings, allow_http=allow_http)
        self._changes = Changes(self._transport)

    def __repr__(self) -> str:
        return f"<HTTPBackend {', '.join(self._transport.urls)}>"

    async def aclose(self) -> None:
        """Close the connections that the running event loop has. The next call opens new ones."""
        await self._changes.aclose()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- flows -------------------------------------------------------------------------------------------------------

    async def flows(self) -> list[FlowInfo]:
        """See `Backend.flows`."""
        return await self._transport.call(Call(_FLOWS))

    async def contract(self, flow: str, *, definition: str | None = None) -> Contract:
        """See `Backend.contract`."""
        return await self._transport.call(Call(_CONTRACT, {"flow": _part(flow)}, _query(definition=definition)))

    async def drawing(
        self, flow: str, *, definition: str | None = None, mode: Literal["simplified", "detailed"] = "simplified"
    ) -> Drawing:
        """See `Backend.drawing`."""
        query = _query(definition=definition, mode=mode)
        return await self._transport.call(Call(_DRAWING, {"flow": _part(flow)}, query))

    # -- lists -------------------------------------------------------------------------------------------------------

    async def executions(
        self,
        *,
        flow: str | None = None,
        status: StatusName | Collection[StatusName] | None = None,
        since: float | None = None,
        until: float | None = None,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
        text: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> ExecutionPage:
        """See `Backend.executions`."""
        statuses = [status] if isinstance(status, str) else status
        if statuses is not None and not statuses:
            return ExecutionPage(executions=[])
        query = [
            *_query(flow=flow, since=since, until=until, parent=parent, text=text, after=after, limit=limit),
            *(("status", it) for it in statuses or ()),
            *(("label", f"{name}:{value}") for name, value in (labels or {}).items()),
        ]
        return await self._transport.call(Call(_EXECUTIONS, query=query))

    async def counts(
        self, *, since: float | None = None, until: float | None = None
    ) -> dict[str, dict[StatusName, int]]:
        """See `Backend.counts`."""
        return await self._transport.call(Call(_COUNTS, query=_query(since=since, until=until)))

    async def questions(
        self, *, flow: str | None = None, execution: str | None = None, after: str | None = None, limit: int = 100
    ) -> QuestionPage:
        """See `Backend.questions`."""
        query = _query(flow=flow, execution=execution, after=after, limit=limit)
        return await self._transport.call(Call(_QUESTIONS, query=query))

    async def changes(self, after: str | None = None, *, wait: float = MAX_WAIT) -> ChangesInfo:
        """See `Backend.changes`. The event stream behind it stays open for some seconds, for the next call."""
        return await self._changes.after(after, check_wait(wait))

    # -- one execution -----------------------------------------------------------------------------------------------

    async def get(self, id: str) -> ExecutionInfo:
        """See `Backend.get`."""
        return await self._transport.call(Call(_GET, _at(id)))

    async def frames(self, id: str, *, after: int = 0, follow: bool = False) -> AsyncIterator[Frame]:
        """See `Backend.frames`."""
        numbered = Numbered(FRAME, Frame, "frames", _FRAMES, _at(id), in_row=True)
        async with aclosing(self._numbered(numbered, after, follow)) as found:
            async for frame in found:
                yield frame

    async def stream(
        self, id: str, *, after: int = 0, follow: bool = False, compact: bool = False
    ) -> AsyncIterator[Item]:
        """See `Backend.stream`."""
        query = _query(compact=compact or None)
        numbered = Numbered(ITEM, Item, "items", _STREAM, _at(id), query, in_row=not compact)
        async with aclosing(self._numbered(numbered, after, follow)) as found:
            async for item in found:
                yield item

    async def _numbered(self, numbered: Numbered[T], after: int, follows: bool) -> AsyncGenerator[T]:
        if after < 0:
            raise BadRequest(f"{numbered.name} are numbered from 1; there is none after number {after}")
        if follows:
            async with aclosing(follow(self._transport, numbered, after)) as found:
                async for entry in found:
                    yield entry
            return
        while True:
            query = [*numbered.query, *_query(after=after, limit=MAX_PAGE)]
            page = await self._transport.call(Call(numbered.route, numbered.parts, query))
            for entry in getattr(page, numbered.name):
                yield entry
            if page.next is None:
                return
            if page.next <= after:
                raise numbered.out_of_order(self._transport.url, page.next, after)
            after = page.next

    async def state_at(self, id: str, moment: int | None = None) -> StateInfo:
        """See `Backend.state_at`."""
        return await self._transport.call(Call(_STATE, _at(id), _query(at=moment)))

    async def result(self, id: str, *, wait: float = 0.0) -> ResultInfo:
        """See `Backend.result`."""
        wait = check_wait(wait)
        return await self._transport.call(Call(_RESULT, _at(id), _query(wait=wait or None), wait=wait))

    async def diff(self, one: str, other: str) -> DifferenceInfo:
        """See `Backend.diff`."""
        return await self._transport.call(Call(_DIFF, {**_at(one), "other": _part(other)}))

    async def export(self, id: str) -> AsyncIterator[bytes]:
        """See `Backend.export`. If the connection breaks after the first byte it raises `StoreUnavailable`: call it
        again from the beginning."""
        async with aclosing(self._transport.pieces(Call(_EXPORT, _at(id)))) as pieces:
            async for piece in pieces:
                yield piece

    # -- changes -----------------------------------------------------------------------------------------------------

    async def start(
        self,
        flow: str,
        value: Any = None,
        *,
        id: str | None = None,
        reuse: Reuse = "reject",
        labels: Mapping[str, str] | None = None,
        delay: float | None = None,
    ) -> ExecutionInfo:
        """See `Backend.start`. A repeated request starts nothing twice: without `id` the client chooses an id; with one
        it sends an idempotency key, which the server keeps as a label, unless `reuse="existing"` makes it needless."""
        name = REAL.new_id() if id is None else id
        body = StartBody(
            value=as_json(value, f"the start value of flow {flow!r}"), id=name, reuse=reuse, labels=dict(labels or {}),
            delay=delay,
        )  # fmt: skip
        key = None if id is None or reuse == "existing" else REAL.new_id()
        call = Call(_START, {"flow": _part(flow)}, body=_encode(body, "the start value"), key=key)
        try:
            return await self._transport.call(call)
        except ExecutionExists:
            if id is not None:
                raise
            return await self.get(name)  # nobody else knows this id: an earlier try has started it, its answer was lost

    async def act(self, id: str, action: AnyAction, *, request: str | None = None, wait: float = ACTION_WAIT) -> Done:
        """See `Backend.act`."""
        found = ACTION_ROUTES.get(type(action))
        if found is None:
            raise BadRequest(f"an action is one of {sorted(it.__name__ for it in ACTION_ROUTES)}, not {action!r:.100}")
        parts, body = body_of(action)
        data: bytes | None = None
        if body is not None:
            where = f"a value of {found.name!r}"
            data = _encode({name: as_json(value, where) for name, value in body.items()}, where)
        key = REAL.new_id() if request is None else check_request(request)
        wait = check_wait(wait)
        parts = {name: _part(value) for name, value in parts.items()}
        return await self._transport.call(Call(found, {**_at(id), **parts}, _query(wait=wait), data, key, wait))

    async def fork(
        self,
        id: str,
        *,
        at: int,
        new_id: str | None = None,
        state: Mapping[str, Any] | None = None,
        value: Any = UNSET,
    ) -> ExecutionInfo:
        """See `Backend.fork`."""
        body = ForkBody(
            at=at,
            id=REAL.new_id() if new_id is None else new_id,
            state=None if state is None else as_json(state, "the state of a fork"),
            value=msgspec.UNSET if value is UNSET else as_json(value, "the start value of a fork"),
        )
        call = Call(_FORK, _at(id), body=_encode(body, "a value of a fork"), key=REAL.new_id())
        return await self._transport.call(call)


# -- arguments ---------------------------------------------------------------------------------------------------------


def _require_httpx() -> None:
    from importlib.util import find_spec

    if find_spec("httpx2") is None:
        raise ImportError("the client needs httpx2: pip install 'triggerflow-engine[client]'")


def _at(id: str) -> dict[str, str]:
    return {"id": _part(id)}


def _part(text: str) -> str:
    """A text for a part of a path, as it is. Raises `BadRequest` for one that cannot be sent."""
    if not isinstance(text, str) or not text:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadRequest(f"a name or an id is a text that is not empty, not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{text!r:.100} is no text that can be sent") from None
    return text


def _query(**values: Any) -> list[tuple[str, str]]:
    """The parameters of a query, without those that are None."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if value is not None:
            found.append((name, "true" if value is True else "false" if value is False else str(value)))
    return found


def _encode(body: Any, where: str) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, TypeError, RecursionError) as error:
        raise PayloadError(f"{where} cannot be sent as JSON: {type(error).__name__}") from None
