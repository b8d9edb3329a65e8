"""The ASGI application: finds the route and the grant of a request, calls the backend, and answers."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from starlette.routing import Router

from .._core.state import UNSET
from ..backend import MAX_WAIT, Backend, BadRequest, ExecutionInfo, ResultInfo, StoreBackend
from ..backend.arguments import MAX_ID
from ..backend.store import Flow
from ..drivers.tasks import start_task
from ..durable import Worker
from ..durable.workers.worker import Resumable
from ..errors import ExecutionExists, StoreConflict, StoreError, TriggerFlowError, UsageError
from ..run.tracing import TRACE_CONTEXT, TRACEPARENT, carrying
from ..stores import Store
from ..wire import ROUTES, AccessInfo, Busy, Health, Ready, Route, encode_event, find, path_to
from ..wire.events import EVENT_STREAM, RESULT, STARTED
from ..wire.problems import PROBLEM
from ..wire.routes import IDEMPOTENCY_KEY, KEY_LABEL
from ..wire.routes import route as route_named
from . import agui
from .access import EVERYBODY, Auth, Gate, Grant
from .agui import AgentRun
from .feeds import closing, end_event
from .following import Following, PageEvents
from .guard import Hosts, path_of
from .inputs import Headers, check_text, read_body, read_query, refused
from .limits import Limits
from .metrics import Counters, metrics
from .openapi import openapi
from .page import ROOT, Page
from .problems import problem_and_headers, redacted
from .streams import Message, Receive, Send, Stream, Streams
from .view import View

logger = logging.getLogger("triggerflow.server")

_JSON = b"application/json"


class ServedFlow(Flow, Resumable, Protocol):
    """What the server needs of a flow. `TriggerFlow` has it."""


HeaderList = list[tuple[bytes, bytes]]


def create_app(
    flows: Iterable[ServedFlow] = (),
    store: Store | None = None,
    *,
    backend: Backend | None = None,
    auth: Auth | None = None,
    hosts: Collection[str] = (),
    limits: Limits | None = None,
    worker: bool = False,
    page: bool = True,
) -> "App":
    """Make an ASGI application that serves the executions of a store, or of any other backend.

    Serve it with `Server`, or mount it in a Starlette or FastAPI application under any path, and pass `app.lifespan` to
    that application. `store` may be open already; otherwise the lifespan opens and closes it. With `worker` this
    process also runs executions of `flows`. With `page` there is a page for browsers at its root.

    `auth` is the path of a file of tokens (`TokenFile`), or a function, also an async one, from a bearer token to its
    `Grant`; without it everybody may do everything. `hosts` are the host names of the server, without ports, besides
    "localhost" and loopback addresses: a request with another `Host` is refused. "*" accepts all, for a server behind a
    proxy that checks them. Raises `UsageError` without a store or backend, or for a `worker` without store or flows.
    """
    return App(list(flows), store, backend, auth, hosts, limits or Limits(), worker, page)


class Call:
    """One request that was admitted."""

    def __init__(self, route: Route, parts: dict[str, str], scope: MutableMapping[str, Any], headers: Headers) -> None:
        self.route = route
        self.parts = parts
        self.scope = scope
        self.headers = headers
        self.token: str | None = None
        self.grant: Grant = EVERYBODY
        self.view: View
        self.query: dict[str, Any] = {}
        self.body: Any = None
        self.key: str | None = None

    @property
    def id(self) -> str:
        """The id of the execution in the path."""
        return self.parts["id"]

    @property
    def caller(self) -> str | None:
        """The trace context in the header `traceparent`; None if it is missing or malformed."""
        found = self.headers.get(TRACEPARENT)
        return found if found is not None and TRACE_CONTEXT.fullmatch(found) else None

    @property
    def root(self) -> str:
        """The path under which the application is mounted."""
        return quote(self.scope.get("root_path", "").rstrip("/"))


class Answer:
    """An answer: data that is sent as JSON, or bytes (`raw`) of a content type."""

    def __init__(
        self, data: Any, status: int = 200, headers: HeaderList | None = None, *, kind: bytes = _JSON, raw: bool = False
    ) -> None:
        self.body: bytes = data if raw else msgspec.json.encode(data)
        self.status, self.kind, self.headers = status, kind, headers or []


class StreamAnswer:
    """An answer that is sent in pieces: a stream of events, or a file."""

    def __init__(
        self,
        pieces: Callable[[Stream], AsyncIterator[bytes]],
        headers: HeaderList | None = None,
        *,
        events: bool = True,
        last: Callable[[str], bytes] | None = None,
    ) -> None:
        self.pieces, self.events, self.last = pieces, events, last
        self.headers = headers or [
            (b"content-type", EVENT_STREAM.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]


class App:
    """The application that `create_app` makes."""

    def __init__(
        self,
        flows: list[ServedFlow],
        store: Store | None,
        backend: Backend | None,
        auth: Auth | None,
        hosts: Collection[str],
        limits: Limits,
        worker: bool,
        page: bool,
    ) -> None:
        if (store is None) is (backend is None):
            raise UsageError("create_app needs a store, or another backend: one of the two")
        if worker and (store is None or not flows):
            raise UsageError("a worker needs a store and flows: create_app(flows, store, worker=True)")
        self._served, self._store, self._worker = flows, store, worker
        self._backend = backend
        self.gate = Gate(auth)
        self.limits = limits
        self.streams = Streams(limits, self.gate)
        self.counters = Counters()
        self._hosts = Hosts(hosts)
        self._files = Page() if page else None
        self._following: Following | None = None
        #: the tasks of the calls that have no answer yet
        self._calls: dict[asyncio.Task[Any], None] = {}
        self._router = Router(lifespan=self.lifespan)
        self._handlers: dict[str, Callable[[Call], Awaitable[Answer | StreamAnswer]]] = {
            route.name: getattr(self, f"_{route.name if route.action is None else 'act'}") for route in ROUTES
        }

    @property
    def backend(self) -> Backend:
        """The backend that is served."""
        if self._backend is None:
            assert self._store is not None
            self._backend = StoreBackend(self._store, *self._served)
        return self._backend

    @property
    def following(self) -> Following:
        """The feeds of the streams."""
        if self._following is None:
            self._following = Following(self.backend, self.limits)
        return self._following

    @property
    def store(self) -> Store | None:
        """The store that is served, None for another backend."""
        return self._store

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncGenerator[None]:
        """Opens the store unless it is open, and runs the worker. At the end of the block all streams are ended."""
        self.streams.stopping = False
        async with AsyncExitStack() as stack:
            if self._store is not None:
                try:
                    await self._store.find("")
                except (UsageError, StoreError):  # it was never opened, or was closed
                    await stack.enter_async_context(self._store)
                self._backend = StoreBackend(self._store, *self._served)
                self._following = None
                if self._worker:
                    await stack.enter_async_context(Worker(self._store, *self._served))
            try:
                yield
            finally:
                await self.stop(grace=0.0)

    async def stop(self, grace: float = 1.0) -> None:
        """End all streams with an event after which their readers connect to another server. Calls have `grace` seconds
        to end, and then get the problem "stopping", as new ones do."""
        self.streams.stop()
        loop = asyncio.get_running_loop()
        until = loop.time() + grace
        while self._calls and loop.time() < until:  # noqa: ASYNC110 - it happens once
            await asyncio.sleep(0.02)
        for task in list(self._calls):
            task.cancel()
        for _ in range(100):
            if not self._calls and not self.streams.open:
                break
            await asyncio.sleep(0.01)

    # -- requests ----------------------------------------------------------------------------------------------------

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._router.lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        started, name, status, head = False, "", 0, scope["method"] == "HEAD"
        begin = asyncio.get_running_loop().time()

        async def sending(message: Message) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
            await send(message)

        try:
            if self._files is not None and self._files.has(path := path_of(scope)):
                name = "page"
                status, headers, body = self._file(self._files, path, scope)
                await _respond(sending, status, headers, body, head if status == 200 else None)
                return
            call = await self._admit(scope, receive)
            name = call.route.name
            answer = await self._answer(call)
            if isinstance(answer, StreamAnswer) and not head:
                await self.streams.serve(
                    scope,
                    receive,
                    sending,
                    [*answer.headers, *_SAFE],
                    answer.pieces,
                    token=call.token,
                    grant=call.grant,
                    events=answer.events,
                    last=answer.last,
                )
            elif isinstance(answer, StreamAnswer):
                await _respond(sending, 200, answer.headers, b"", None)
            else:
                headers = [(b"content-type", answer.kind), *answer.headers]
                await _respond(sending, answer.status, headers, answer.body, head)
        except Exception as error:
            if started:
                raise
            found, headers = problem_and_headers(error)
            if found.status >= 500 and found.code == "internal":
                logger.exception("%s failed", name or "a request")
            body = msgspec.json.encode(found)
            await _respond(sending, found.status, [(b"content-type", PROBLEM.encode()), *headers], body, head)
        finally:
            self.counters.add(name, status, asyncio.get_running_loop().time() - begin)

    def _file(self, page: Page, path: str, scope: MutableMapping[str, Any]) -> tuple[int, HeaderList, bytes]:
        """A file of the page, for everybody who calls this server by a name of its own."""
        headers = Headers(scope)
        self._hosts.check(headers, follows_link=path == ROOT)
        if scope["method"] not in ("GET", "HEAD"):
            raise refused("method_not_allowed", "the page can only be read", (b"allow", b"GET, HEAD"))
        return page.answer(path, headers)

    async def _admit(self, scope: MutableMapping[str, Any], receive: Receive) -> Call:
        """Check all of a request that can be checked without the backend. Raises `Refused` and `BadRequest`."""
        if self.streams.stopping:
            raise refused("stopping", "this server stops; ask another one", (b"connection", b"close"), again=True)
        path = path_of(scope)
        if len(path) + len(scope.get("query_string", b"")) > self.limits.target:
            raise refused("too_long", f"a path with its query has up to {self.limits.target} characters")
        headers = Headers(scope)
        self._hosts.check(headers)
        routes = find(path)
        if not routes:
            raise refused("unknown_route", f"there is nothing at {path[:200]!r}")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in routes:
            allowed = [*routes, *(["HEAD"] if "GET" in routes else [])]
            text = f"{scope['method'][:20]} is not possible here, but {', '.join(allowed)}"
            raise refused("method_not_allowed", text, (b"allow", ", ".join(allowed).encode()))
        route, parts = routes[method]
        call = Call(route, parts, scope, headers)
        await self._authorize(call)
        for name, text in parts.items():
            check_text(text, f"the {name} in the path", 2048)
        call.query = read_query(route, scope.get("query_string", b""))
        call.body = await read_body(route, headers, receive, self.limits)
        if route.keyed:
            call.key = headers.get(IDEMPOTENCY_KEY)
            if call.key is not None and not 0 < len(call.key) <= MAX_ID:
                raise BadRequest(f"an Idempotency-Key has 1 to {MAX_ID} characters")
        return call

    async def _authorize(self, call: Call) -> None:
        scope = call.route.scope
        call.token = call.headers.token
        grant = await self.gate.grant(call.token) if scope != "open" or call.route.name == "openapi" else None
        if scope != "open":
            if grant is None:
                raise refused(
                    "no_token", "this call needs a valid bearer token", (b"www-authenticate", b'Bearer realm="api"')
                )
            if not grant.allows(scope):
                raise refused("not_allowed", f"your token has not the scope {scope!r}")
        call.grant = grant or Grant(name="", scopes=frozenset(), flows=frozenset())
        call.view = View(self.backend, call.grant.flows)

    async def _answer(self, call: Call) -> Answer | StreamAnswer:
        if len(self._calls) >= self.limits.calls:
            raise Busy("this server has as many calls as it takes")
        task = asyncio.current_task()
        assert task is not None
        self._calls[task] = None
        try:
            with nullcontext() if call.caller is None else carrying(call.caller):
                if "id" in call.parts:
                    await call.view.check(call.id)
                return await self._handlers[call.route.name](call)
        except asyncio.CancelledError:
            if not self.streams.stopping:
                raise
            task.uncancel()
            raise refused("stopping", "this server stops; ask another one", again=True) from None
        except TriggerFlowError as error:
            raise redacted(error, call.parts) from error
        finally:
            del self._calls[task]

    # -- flows and lists ---------------------------------------------------------------------------------------------

    async def _access(self, call: Call) -> Answer:
        grant = call.grant
        flows = None if grant.flows is None else sorted(grant.flows)
        return Answer(AccessInfo(name=grant.name, act=grant.allows("act"), flows=flows))

    async def _flows(self, call: Call) -> Answer:
        return Answer(await call.view.flows())

    async def _contract(self, call: Call) -> Answer:
        await call.view.check_definition(call.parts["flow"], call.query.get("definition"))
        return Answer(await self.backend.contract(call.parts["flow"], **call.query))

    async def _drawing(self, call: Call) -> Answer:
        await call.view.check_definition(call.parts["flow"], call.query.get("definition"))
        headers: HeaderList = []
        if "definition" in call.query:  # it never changes
            headers = [(b"cache-control", b"private, max-age=604800, immutable"), (b"vary", b"authorization")]
        return Answer(await self.backend.drawing(call.parts["flow"], **call.query), headers=headers)

    async def _executions(self, call: Call) -> Answer:
        query = dict(call.query)
        if "label" in query:
            query["labels"] = query.pop("label")
        return Answer(await call.view.executions(**query))

    async def _counts(self, call: Call) -> Answer:
        return Answer(await call.view.counts(**call.query))

    async def _questions(self, call: Call) -> Answer:
        return Answer(await call.view.questions(**call.query))

    # -- one execution -----------------------------------------------------------------------------------------------

    async def _get(self, call: Call) -> Answer:
        return Answer(await self.backend.get(call.id))

    async def _state(self, call: Call) -> Answer:
        return Answer(await self.backend.state_at(call.id, call.query.get("at")))

    async def _result(self, call: Call) -> Answer:
        return Answer(await self.backend.result(call.id, wait=min(call.query.get("wait", 0.0), self.limits.wait)))

    async def _diff(self, call: Call) -> Answer:
        await call.view.check(call.parts["other"])
        return Answer(await self.backend.diff(call.id, call.parts["other"]))

    async def _export(self, call: Call) -> StreamAnswer:
        pieces = self.backend.export(call.id)
        first = await anext(aiter(pieces), b"")

        async def body(stream: Stream) -> AsyncIterator[bytes]:
            async with closing(pieces) as found:
                yield first
                async for piece in found:
                    yield piece

        name = "".join(it if it.isascii() and (it.isalnum() or it in "-_.") else "_" for it in call.id)[:100]
        disposition = f'attachment; filename="{name}.jsonl"'.encode()
        headers = [
            (b"content-type", b"application/jsonl"), (b"content-disposition", disposition),
            (b"cache-control", b"no-store"),
        ]  # fmt: skip
        return StreamAnswer(body, headers, events=False)

    async def _frames(self, call: Call) -> Answer | StreamAnswer:
        after = self._last(call)
        if not call.headers.accepts(EVENT_STREAM):
            limit = call.query.get("limit", 100)
            return await self._page(b"frames", self.backend.frames(call.id, after=after), limit)
        info = await self.backend.get(call.id)
        lost = after > info.frames
        return StreamAnswer(lambda stream: self.following.follow(stream, "frames", call.id, after, lost))

    async def _stream(self, call: Call) -> Answer | StreamAnswer:
        compact = call.query.get("compact", False)
        after = self._last(call)
        if not call.headers.accepts(EVENT_STREAM):
            limit = call.query.get("limit", 100)
            return await self._page(b"items", self.backend.stream(call.id, after=after, compact=compact), limit)
        info = await self.backend.get(call.id)
        lost = after > info.items
        return StreamAnswer(
            lambda stream: self.following.follow(stream, "compact" if compact else "items", call.id, after, lost)
        )

    def _last(self, call: Call) -> int:
        """The number after which a stream begins: `Last-Event-ID`, which a reconnecting browser sends, or `after`."""
        last = call.headers.get("last-event-id")
        if last is None:
            return call.query.get("after", 0)
        if not (last.isascii() and last.isdigit() and len(last) < 17):
            raise refused("bad_request", f"Last-Event-ID is the number of an event, not {last[:100]!r}")
        return int(last)

    async def _page(self, name: bytes, found: AsyncIterator[Any], limit: int) -> Answer:
        """A page of JSON: up to `limit` entries, and fewer once they exceed `Limits.page` bytes."""
        entries: list[bytes] = []
        size, number, more = 0, 0, False
        encode = msgspec.json.Encoder().encode
        async with closing(found) as all_of_it:
            async for entry in all_of_it:
                if len(entries) == limit or size > self.limits.page:
                    more = True
                    break
                entries.append(encode(entry))
                size += len(entries[-1])
                number = entry.number
        following = b"%d" % number if more else b"null"
        return Answer(b'{"%b":[%b],"next":%b}' % (name, b",".join(entries), following), raw=True)

    # -- changes -----------------------------------------------------------------------------------------------------

    async def _start(self, call: Call) -> Answer:
        info = await self._started(call)
        headers = [(b"location", self._place(call, info).encode())]
        wait = call.headers.wait
        if wait is None:
            return Answer(info, call.route.status, headers)
        wait = min(wait, MAX_WAIT, self.limits.wait)
        result = await self.backend.result(info.id, wait=wait)
        return Answer(result, 200, [*headers, (b"preference-applied", b"wait=%d" % wait)])

    def _place(self, call: Call, info: ExecutionInfo) -> str:
        return call.root + path_to(route_named("get"), id=info.id)

    async def _started(self, call: Call) -> ExecutionInfo:
        """Start an execution; repeated requests with the same `Idempotency-Key` start it once."""
        flow, body = call.parts["flow"], call.body
        if call.key is None:
            return await call.view.start(
                flow, body.value, body.id, reuse=body.reuse, labels=body.labels, delay=body.delay
            )
        await call.view.check_flow(flow)
        mark = _digest([call.grant.name, flow, call.key])
        mine = f"{mark[:32]}.{_digest(body)[:32]}"
        labels = {**body.labels, KEY_LABEL: mine}
        id, reuse = body.id, body.reuse
        if id is None:
            id, reuse = f"k{mark[:32]}", "existing"
        else:
            before = await self.backend.executions(flow=flow, labels={KEY_LABEL: mine})
            for found in before.executions:
                if found.forked_from is None:  # forks have the labels of their original
                    return found
        try:
            info = await call.view.start(flow, body.value, id, reuse=reuse, labels=labels, delay=body.delay)
        except ExecutionExists:
            if await call.view.hides(id):
                raise
            info = await self.backend.get(id)
            if info.labels.get(KEY_LABEL) != mine:
                raise
        if body.id is None and info.labels.get(KEY_LABEL) != mine:
            raise BadRequest("this Idempotency-Key was used for another start; give each intent a key of its own")
        return info

    async def _run(self, call: Call) -> StreamAnswer:
        info = await self._started(call)

        async def body(stream: Stream) -> AsyncIterator[bytes]:
            yield encode_event(STARTED, msgspec.json.encode(info), 0)
            try:
                async with closing(self.following.follow(stream, "items", info.id, 0, False, ends=False)) as pieces:
                    async for piece in pieces:
                        yield piece
                async with closing(self._ending(stream, info.id)) as pieces:
                    async for piece in pieces:
                        yield piece
            except Exception as error:
                yield self.following.error_event(error)

        return StreamAnswer(body, [*StreamAnswer(body).headers, (b"location", self._place(call, info).encode())])

    async def _agui(self, call: Call) -> StreamAnswer:
        flow = call.parts["flow"]
        info, at = await agui.begin(call.view, call.grant.name, flow, call.body)
        run = AgentRun(self.following, flow, call.body, info, at)
        return StreamAnswer(run.pieces, last=run.last)

    async def _ending(self, stream: Stream, id: str) -> AsyncIterator[bytes]:
        """Wait for the end of an execution, perhaps long after that of its stream, and yield the events for it."""

        async def ended() -> ResultInfo:
            while True:
                result = await self.backend.result(id, wait=MAX_WAIT)
                if result.ended:
                    return result

        waiting = start_task(asyncio.get_running_loop(), ended(), quiet=True)
        waiting.add_done_callback(lambda _: stream.wake())
        try:
            while not stream.why and not waiting.done():
                await stream.wait()
                yield stream.beat()
            if waiting.done():
                result = await waiting
                yield encode_event(RESULT, msgspec.json.encode(result))
                yield end_event(result.status)
        finally:
            waiting.cancel()

    async def _act(self, call: Call) -> Answer:
        assert call.route.action is not None
        fields = {name: text for name, text in call.parts.items() if name != "id"}
        if call.body is not None:
            fields |= {name: getattr(call.body, name) for name in call.body.__struct_fields__}
        action: Any = call.route.action(**fields)
        wait = {"wait": call.query["wait"]} if "wait" in call.query else {}
        return Answer(await self.backend.act(call.id, action, request=call.key, **wait))

    async def _fork(self, call: Call) -> Answer:
        await call.view.check_fork(call.id)
        body = call.body
        id = body.id
        if id is None and call.key is not None:
            mark = f"k{_digest([call.grant.name, 'fork', call.id, call.key])[:32]}"
            id = f"{mark}.{_digest(body)[:32]}"
            found = (await call.view.executions(text=mark)).executions
            if any(it.id != id and it.id.startswith(mark) for it in found):
                raise BadRequest("this Idempotency-Key was used for another fork; give each intent a key of its own")
        value = UNSET if body.value is msgspec.UNSET else body.value
        try:
            info = await self.backend.fork(call.id, at=body.at, new_id=id, state=body.state, value=value)
        except StoreConflict:
            if id is None or call.key is None or await call.view.hides(id):
                raise
            info = await self.backend.get(id)
            if info.forked_from != (call.id, body.at):
                raise
        return Answer(info, call.route.status, [(b"location", self._place(call, info).encode())])

    # -- the events of all -------------------------------------------------------------------------------------------

    async def _events(self, call: Call) -> StreamAnswer:
        id, after = call.query.get("execution"), call.query.get("after")
        frames = call.query.get("frames", 0)
        last = call.headers.get("last-event-id")
        if last is not None:
            if not 0 < len(last) <= 2048:
                raise refused("bad_request", "Last-Event-ID is the id of an event")
            number, colon, cursor = last.partition(":") if id is not None else ("", ":", last)
            if number.isascii() and number.isdigit() and len(number) < 17:
                frames = int(number)
            after = cursor if colon else "-"  # the id of a frame has no cursor; "-" is none, so that `resync` is sent
        lost = False
        if id is not None:
            await call.view.check(id)
            lost = frames > (await self.backend.get(id)).frames
        following = self.following
        return StreamAnswer(
            lambda stream: PageEvents(following, stream, following.changes, call.view, id, 0 if lost else frames).body(
                after, lost
            )
        )

    # -- for operators -----------------------------------------------------------------------------------------------

    async def _health(self, call: Call) -> Answer:
        return Answer(Health())

    async def _ready(self, call: Call) -> Answer:
        try:
            async with asyncio.timeout(5.0):
                await self.backend.executions(limit=1)
        except (StoreError, TimeoutError) as error:
            logger.warning("not ready: %s", error)
            return Answer(Ready(ready=False, reason="the store cannot be read"), 503)
        return Answer(Ready(ready=True))

    async def _metrics(self, call: Call) -> Answer:
        text = await metrics(call.view, call.grant.flows, self.streams, self.counters, self._store)
        return Answer(text.encode(), kind=b"text/plain; version=0.0.4; charset=utf-8", raw=True)

    async def _openapi(self, call: Call) -> Answer:
        contracts = [
            await self.backend.contract(flow.name) for flow in await call.view.flows() if flow.has_code
        ]  # fmt: skip
        return Answer(openapi(contracts, has_tokens=not self.gate.is_open, server=call.root))


# -- helpers -----------------------------------------------------------------------------------------------------------

_SAFE: HeaderList = [(b"x-content-type-options", b"nosniff")]


async def _respond(send: Send, status: int, headers: HeaderList, body: bytes, head: bool | None) -> None:
    """Send a whole answer. `head`: without its body; None: without a content length, too."""
    own = {name for name, _ in headers}
    if b"cache-control" not in own:
        headers = [*headers, (b"cache-control", b"no-store")]
    if head is not None:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_SAFE]})
    await send({"type": "http.response.body", "body": b"" if head else body})


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()
