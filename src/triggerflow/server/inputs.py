"""Reading of requests: headers, query and body, checked against the table of routes."""

import asyncio
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from ..backend import BadRequest
from ..backend.shapes import StatusName
from ..wire import Route
from ..wire.problems import Problem, problem
from ..wire.routes import Query
from .limits import Limits
from .streams import Receive

_COUNT = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})\"?(?=$|[,;\s])", re.IGNORECASE)
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: Headers that are lists.
_LISTS = ("accept-encoding", "if-none-match")
STATUSES: frozenset[str] = frozenset(StatusName.__args__)


class Refused(Exception):
    """Ends a request with a problem as its answer."""

    def __init__(self, found: Problem, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        super().__init__(found.detail)
        self.problem = found
        self.headers = headers or []


def refused(code: str, detail: str, *headers: tuple[bytes, bytes], again: bool = False) -> Refused:
    """The exception for an answer with this problem."""
    return Refused(problem(code, detail, again=again), list(headers))


class Headers:
    """The headers of a request."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self._found: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            self._found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def get(self, name: str) -> str | None:
        """The value of a header, None without it. Raises `Refused` if the request has it several times, but for a list,
        which may be split over several lines."""
        values = self._found.get(name.lower())
        if values is None:
            return None
        if len(values) > 1 and name.lower() not in _LISTS:
            raise refused("bad_request", f"the header {name} comes {len(values)} times")
        return ", ".join(values)

    def accepts(self, kind: str) -> bool:
        """Whether the header `Accept` names this content type; wildcards do not count."""
        return any(
            part.split(";")[0].strip().lower() == kind
            for value in self._found.get("accept", ())
            for part in value.split(",")
        )

    @property
    def token(self) -> str | None:
        """The bearer token, None if there is none."""
        kind, _, token = (self.get("authorization") or "").partition(" ")
        return token.strip() if kind.lower() == "bearer" and 0 < len(token) <= 4096 else None

    @property
    def wait(self) -> float | None:
        """The seconds of `Prefer: wait=30`, None without it."""
        found = [_WAIT.search(value) for value in self._found.get("prefer", ())]
        waits = [float(it[1]) for it in found if it is not None]
        return waits[0] if waits else None


def check_text(text: str, what: str, most: float | None = None) -> str:
    """The text, if every store can keep it. Raises `BadRequest` for null characters, surrogates and too many
    characters. `what` names it in the message."""
    if "\0" in text or not _is_unicode(text):
        raise BadRequest(f"{what} has a character that no text can have")
    if most is not None and len(text) > most:
        raise BadRequest(f"{what} has up to {most:.0f} characters, not {len(text)}")
    return text


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= it <= "\udfff" for it in text) if not text.isascii() else True


def read_query(route: Route, raw: bytes) -> dict[str, Any]:
    """The parameters of a query by name, as values. Raises `BadRequest`."""
    known = {it.name: it for it in route.query}
    found: dict[str, Any] = {}
    for pair in raw.decode("latin-1").split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        name, value = _plain(name), _plain(value)
        query = known.get(name)
        if query is None:
            names = ", ".join(known) or "none"
            raise BadRequest(f"there is no parameter {name[:100]!r} here; there are: {names}")
        if query.kind == "statuses":
            found.setdefault(name, []).append(_value(query, value))
        elif query.kind == "labels":
            key, label = _value(query, value)
            found.setdefault(name, {})[key] = label
        elif name in found:
            raise BadRequest(f"the parameter {name!r} comes more than once")
        else:
            found[name] = _value(query, value)
    return found


def _plain(text: str) -> str:
    if _ESCAPE.search(text):
        raise BadRequest("the query is not percent-encoded as it should be")
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the query is not UTF-8") from None


def _value(query: Query, text: str) -> Any:
    name = f"the parameter {query.name!r}"
    match query.kind:
        case "count" | "number":
            pattern = _COUNT if query.kind == "count" else _NUMBER
            if not pattern.fullmatch(text):
                raise BadRequest(f"{name} is a number, not {text[:100]!r}")
            value = int(text) if query.kind == "count" else float(text)
            if value < query.least or value > (1e15 if query.most is None else query.most):
                most = 10**15 if query.most is None else query.most
                raise BadRequest(f"{name} is from {query.least:.0f} to {most:.0f}, not {text[:100]}")
            return value
        case "flag":
            if text not in ("true", "false"):
                raise BadRequest(f"{name} is true or false, not {text[:100]!r}")
            return text == "true"
        case "mode":
            if text not in ("simplified", "detailed"):
                raise BadRequest(f"{name} is simplified or detailed, not {text[:100]!r}")
            return text
        case "statuses":
            if text not in STATUSES:
                raise BadRequest(f"{name} is one of {', '.join(sorted(STATUSES))}, not {text[:100]!r}")
            return text
        case _:
            if len(text) < query.least:
                raise BadRequest(f"{name} is empty")
            check_text(text, name, query.most)
    if query.kind == "labels":
        key, colon, value = text.partition(":")
        if not colon or not key:
            raise BadRequest(f"{name} is key:value, not {text[:100]!r}")
        return key, value
    return text


async def read_body(route: Route, headers: Headers, receive: Receive, limits: Limits) -> Any:
    """The decoded body of a request; None for a route without one. Raises `Refused` and `BadRequest`."""
    length = headers.get("content-length")
    if length is not None and (not _COUNT.fullmatch(length) or int(length) > limits.body):
        raise _too_large(limits)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_time):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise refused("bad_request", "the client has gone")
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > limits.body:
                    raise _too_large(limits)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise refused("too_slow", f"the body has not come within {limits.body_time:g} s") from None
    data = b"".join(pieces)
    if route.body is None:
        if data.strip():
            raise BadRequest("this call takes no body")
        return None
    kind = (headers.get("content-type") or "").split(";")[0].strip().lower()
    if not data.strip():
        if any(field.required for field in msgspec.structs.fields(route.body)):
            raise BadRequest("this call needs a body of JSON")
        return route.body()
    if kind != "application/json":
        raise refused("not_json", f"a body is application/json here, not {kind[:100]!r}")
    try:
        body = msgspec.json.decode(data, type=route.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not what this call takes: {error}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    for field in ("id", "name", "key", "reason"):
        text = getattr(body, field, None)
        if isinstance(text, str):
            check_text(text, f"{field!r}", None if field == "reason" else 512)
            if field == "id" and text in (".", ".."):
                raise BadRequest(f"the id {text!r} is a way in an address: a browser would call something else with it")
    labels: dict[str, str] = getattr(body, "labels", None) or {}
    for pair in labels.items():
        for text in pair:
            check_text(text, "a label")
    return body


def _too_large(limits: Limits) -> Refused:
    return refused("too_large", f"a body has up to {limits.body} bytes", (b"connection", b"close"))
