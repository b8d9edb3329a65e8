"""The table of routes, from which the server, its OpenAPI document and the client are made.

Parts of a path are percent-encoded, "/" too (the id of a sub-flow has some): `path_to` makes a path, `find` reads one.
Values of queries are texts: times and waits are seconds, numbers are decimal, flags are "true" or "false".
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from ..backend import MAX_PAGE, MAX_WAIT
from ..backend import shapes as s
from ..backend.shapes import Action, Reuse, Shape
from .agui import AgentInput

#: The prefix of all paths except those for operators (/health, /ready, /metrics, /openapi.json).
API = "/api"

#: The scope that a token needs. read: for what changes nothing; act: for changes; open: no token is needed.
Scope = Literal["read", "act", "open"]
#: The kind of answer. json: one document; pages: pages of JSON, or events with `Accept: text/event-stream`; events:
#: only events; bytes: a file; text: plain text.
Kind = Literal["json", "pages", "events", "bytes", "text"]
#: The type of a query parameter. Only statuses and labels may be repeated.
QueryKind = Literal["text", "count", "number", "flag", "statuses", "labels", "mode"]

IDEMPOTENCY_KEY, LAST_EVENT_ID, PREFER = "Idempotency-Key", "Last-Event-ID", "Prefer"
#: The label in which the server keeps a digest of the `Idempotency-Key` of a start. It is not shown to people.
KEY_LABEL = "idempotency-key"


class Query(NamedTuple):
    """A parameter of a query. `least` and `most` are the bounds of a number, or of the length of a text."""

    name: str
    kind: QueryKind
    about: str
    least: float = 0
    most: float | None = None


class StartBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The arguments of `Backend.start`, except the flow."""

    value: Any = None
    id: str | None = None
    reuse: Reuse = "reject"
    labels: dict[str, str] = {}
    delay: float | None = None


class ForkBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The arguments of `Backend.fork`; `id` is its `new_id`."""

    at: int
    id: str | None = None
    state: dict[str, Any] | None = None
    value: Any | msgspec.UnsetType = msgspec.UNSET


class FramesPage(Shape, frozen=True):
    """A page of frames. `next` is the `after` of the next page, None if there are no more at present."""

    frames: list[s.Frame]
    next: int | None = None


class ItemsPage(Shape, frozen=True):
    """A page of stream items. `next` is the `after` of the next page, None if there are no more at present."""

    items: list[s.Item]
    next: int | None = None


class AccessInfo(Shape, frozen=True):
    """What the token of a call grants: `act` is whether it may change executions, `flows` None is all of them."""

    name: str
    act: bool
    flows: list[str] | None


class Health(Shape, frozen=True):
    """The answer of a process that is alive."""

    status: Literal["ok"] = "ok"


class Ready(Shape, frozen=True):
    """Whether the server can read its store; `reason` says why not."""

    ready: bool
    reason: str = ""


class Route(NamedTuple):
    """One route. `name` is its operation id; `calls` is the method of `Backend` behind it, with `action` for "act"."""

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    scope: Scope
    calls: str
    answer: Any
    about: str
    query: tuple[Query, ...] = ()
    body: type[Any] | None = None
    kind: Kind = "json"
    action: type[Action] | None = None
    status: int = 200
    #: whether it accepts an `Idempotency-Key`
    keyed: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parameters in the path."""
        return tuple(it[1:-1] for it in self.path.split("/") if it.startswith("{"))


_TEXT = 512
_AFTER = Query("after", "text", "`next` of the page before", 1, 2048)
_LIMIT = Query("limit", "count", "the size of a page", 1, MAX_PAGE)
_NUMBER = Query("after", "count", "begin after this number; `Last-Event-ID` overrides it", 0, 2**53)
_PAGE = Query("limit", "count", "the size of a page of JSON", 1, MAX_PAGE)
_SINCE = Query("since", "number", "created at this time (seconds since the epoch) or later")
_UNTIL = Query("until", "number", "created before this time (seconds since the epoch)")
_FLOW = Query("flow", "text", "only those of this flow", 1, _TEXT)
_DEFINITION = Query("definition", "text", "the fingerprint of a definition of the flow", 1, _TEXT)
_ACT_WAIT = Query("wait", "number", "how many seconds to wait for the process that runs the execution", 1, MAX_WAIT)


def _action(name: str, method: Literal["POST", "PUT", "DELETE"], path: str, action: type[Action], about: str) -> Route:
    own = [it for it in path.split("/") if it.startswith("{")]
    fields = [it for it in msgspec.structs.fields(action) if f"{{{it.name}}}" not in own]
    body = None
    if fields:
        body = msgspec.defstruct(
            f"{action.__name__}Body",
            [(it.name, it.type, it.default) if not it.required else (it.name, it.type) for it in fields],
            kw_only=True,
            forbid_unknown_fields=True,
            module=__name__,
            namespace={"__doc__": action.__doc__},
        )
    return Route(
        name, method, f"{API}/executions/{{id}}{path}", "act", "act", s.Done, about, (_ACT_WAIT,), body,
        action=action, keyed=True,
    )  # fmt: skip


ROUTES: tuple[Route, ...] = (
    Route("access", "GET", f"{API}/access", "read", "", AccessInfo, "What your token grants."),
    Route("flows", "GET", f"{API}/flows", "read", "flows", list[s.FlowInfo], "The flows."),
    Route(
        "contract", "GET", f"{API}/flows/{{flow}}", "read", "contract", s.Contract,
        "What a flow takes and gives, as JSON Schema.", (_DEFINITION,),
    ),
    Route(
        "drawing", "GET", f"{API}/flows/{{flow}}/drawing", "read", "drawing", s.Drawing, "The graph of a flow.",
        (_DEFINITION, Query("mode", "mode", "simplified or detailed")),
    ),
    Route(
        "start", "POST", f"{API}/flows/{{flow}}/executions", "act", "start", s.ExecutionInfo,
        "Start an execution. With `Prefer: wait=30` the answer (status 200) is that of /result. The header Location "
        "has the path of the execution.",
        body=StartBody, status=201, keyed=True,
    ),
    Route(
        "run", "POST", f"{API}/flows/{{flow}}/run", "act", "start", None,
        "Start an execution and follow its stream: events `started`, `item` ..., `result`, `end`. After a break use "
        "its /stream.",
        body=StartBody, kind="events", keyed=True,
    ),
    Route(
        "executions", "GET", f"{API}/executions", "read", "executions", s.ExecutionPage,
        "A page of executions, the newest first; sub-flows only with `parent`.",
        (
            _FLOW, Query("status", "statuses", "in one of these states"), _SINCE, _UNTIL,
            Query("parent", "text", "the sub-flows of this execution", 1, 2048),
            Query("label", "labels", "with this label, as key:value", 1, _TEXT),
            Query("text", "text", "id or label begins with it, or a word of the error", 1, _TEXT), _AFTER, _LIMIT,
        ),
    ),
    Route(
        "counts", "GET", f"{API}/counts", "read", "counts", dict[str, dict[s.StatusName, int]],
        "How many executions each flow has in each status.", (_SINCE, _UNTIL),
    ),
    Route("get", "GET", f"{API}/executions/{{id}}", "read", "get", s.ExecutionInfo, "One execution, as in the list."),
    Route(
        "frames", "GET", f"{API}/executions/{{id}}/frames", "read", "frames", FramesPage,
        "The frames of an execution, in pages, or as events until it ends.", (_NUMBER, _PAGE), kind="pages",
    ),
    Route(
        "stream", "GET", f"{API}/executions/{{id}}/stream", "read", "stream", ItemsPage,
        "The runtime stream of an execution, in pages, or as events until it ends.",
        (_NUMBER, _PAGE, Query("compact", "flag", "merge items that differ only in a text")), kind="pages",
    ),
    Route(
        "state", "GET", f"{API}/executions/{{id}}/state", "read", "state_at", s.StateInfo,
        "The state of an execution, now or at a moment.",
        (Query("at", "count", "the number of the last frame to include", 0, 2**53),),
    ),
    Route(
        "result", "GET", f"{API}/executions/{{id}}/result", "read", "result", s.ResultInfo,
        "The result of an execution.", (Query("wait", "number", "how many seconds to wait for its end", 0, MAX_WAIT),),
    ),
    Route(
        "diff", "GET", f"{API}/executions/{{id}}/diff/{{other}}", "read", "diff", s.DifferenceInfo,
        "How two executions of a flow differ.",
    ),
    Route(
        "export", "GET", f"{API}/executions/{{id}}/export", "read", "export", bytes,
        "An execution with its sub-flows as a file that `History.load` reads.", kind="bytes",
    ),
    _action("emit", "POST", "/signals", s.Emit, "Send a signal to an execution."),
    _action("cancel_signal", "DELETE", "/signals/{name}", s.CancelSignal, "Cancel delayed signals."),
    _action("answer", "POST", "/interrupts/{question}", s.Answer, "Answer an open question."),
    _action("put", "POST", "/items", s.Put, "Put an item into the stream of an execution."),
    _action("set_state", "PUT", "/state/{key}", s.SetState, "Set a key of the state."),
    _action("delete_state", "DELETE", "/state/{key}", s.DeleteState, "Delete a key of the state."),
    _action("set_result", "PUT", "/result", s.SetResult, "Set the result."),
    _action("close", "POST", "/close", s.Close, "Accept no more signals, so that the execution ends when it is idle."),
    _action("cancel", "POST", "/cancel", s.Cancel, "Cancel an execution."),
    _action("retry", "POST", "/retry", s.Retry, "Run a failed execution again."),
    Route(
        "fork", "POST", f"{API}/executions/{{id}}/forks", "act", "fork", s.ExecutionInfo,
        "Make a new execution out of the first frames of another.", body=ForkBody, status=201, keyed=True,
    ),
    Route(
        "questions", "GET", f"{API}/questions", "read", "questions", s.QuestionPage,
        "The open questions of all flows, the oldest first.",
        (_FLOW, Query("execution", "text", "only those of this execution", 1, 2048), _AFTER, _LIMIT),
    ),
    Route(
        "events", "GET", f"{API}/events", "read", "changes", None,
        "Which executions have changed, as events `changes`; with `execution` also its frames, in the same stream.",
        (
            Query("after", "text", "the last cursor that the reader has; without it, changes from now on", 1, 2048),
            Query("execution", "text", "also the frames of this execution", 1, 2048),
            Query("frames", "count", "the number of the last frame that the reader has", 0, 2**53),
        ),
        kind="events",
    ),
    Route(
        "agui", "POST", f"{API}/agui/{{flow}}", "act", "start", None,
        "A run of the flow as an agent of AG-UI 1.0: starts an execution, or answers its questions with `resume`, and "
        "streams the events of the protocol. The same `threadId` and `runId` are the same run, from its beginning.",
        body=AgentInput, kind="events",
    ),
    Route("health", "GET", "/health", "open", "", Health, "Whether the process answers."),
    Route("ready", "GET", "/ready", "open", "", Ready, "Whether the server can read its store; status 503 if not."),
    Route("metrics", "GET", "/metrics", "read", "", None, "Metrics for Prometheus.", kind="text"),
    Route("openapi", "GET", "/openapi.json", "open", "", dict[str, Any], "This document."),
)  # fmt: skip

#: The route of each action.
ACTION_ROUTES: dict[type[Action], Route] = {it.action: it for it in ROUTES if it.action is not None}

_BY_SHAPE: dict[tuple[int, str], list[tuple[Route, tuple[str, ...]]]] = {}
for _route in ROUTES:
    _pieces = tuple(_route.path.split("/"))
    _BY_SHAPE.setdefault((len(_pieces), _pieces[1]), []).append((_route, _pieces))


def route(name: str) -> Route:
    """The route of this name."""
    return next(it for it in ROUTES if it.name == name)


def path_to(route: Route, **parts: str) -> str:
    """The path to a route, percent-encoded."""
    return "/".join(_quoted(parts[it[1:-1]]) if it.startswith("{") else it for it in route.path.split("/"))


def _quoted(part: str) -> str:
    found = quote(part, safe="")
    return found.replace(".", "%2E") if found in (".", "..") else found


def find(path: str) -> dict[str, tuple[Route, dict[str, str]]]:
    """The routes of a percent-encoded path by method, each with the parts of the path. Empty if there is none."""
    pieces = path.split("/")
    found: dict[str, tuple[Route, dict[str, str]]] = {}
    for candidate, pattern in _BY_SHAPE.get((len(pieces), pieces[1] if len(pieces) > 1 else ""), ()):
        parts: dict[str, str] = {}
        for wanted, piece in zip(pattern, pieces, strict=True):
            if wanted.startswith("{"):
                try:
                    parts[wanted[1:-1]] = unquote(piece, errors="strict")
                except UnicodeDecodeError:
                    break
                if not piece:
                    break
            elif wanted != piece:
                break
        else:
            found[candidate.method] = candidate, parts
    return found


def body_of(action: Action) -> tuple[dict[str, str], dict[str, Any] | None]:
    """The parts of the path and the body (None: it has none) with which an action is sent."""
    fields: Mapping[str, Any] = {it: getattr(action, it) for it in action.__struct_fields__}
    route = ACTION_ROUTES[type(action)]
    parts = {name: value for name, value in fields.items() if name in route.parts}
    return parts, None if route.body is None else {name: fields[name] for name in route.body.__struct_fields__}
