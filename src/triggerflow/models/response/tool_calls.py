"""Tool calls as fields: the arguments of each call are parsed while the model writes them.

The paths, in the style "dot" (in the style "slash": `/$tool_calls/search/queries/[*]`):

* `$tool_calls[*]`: every call when it is complete, as a `ToolCall`; `$tool_calls[0]`: the first one;
* `$tool_calls.search`: the arguments of each call of the tool `search`, as an object;
* `$tool_calls.search.queries[*]`: a place in them, as soon as it is complete.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..._core.signals import FieldPlace
from ..errors import ResponseUsageError
from ..instant import Event, InstantParser
from ..outputs import Output, check_paths
from ..paths import SEPARATOR, PathStyle, Step, render
from ..shapes import ToolCallDelta

_KEY = "$tool_calls"
_ROOT: dict[PathStyle, str] = {"dot": _KEY, "slash": f"/{_KEY}"}
_WHOLE = {"dot": re.compile(r"\[(\*|\d+)\]"), "slash": re.compile(r"/\[(\*|\d+)\]")}
_TOOL = {"dot": re.compile(r"\.([^.\[\]]+)(?:\.|(?=\[)|$)(.*)"), "slash": re.compile(r"/([^/\[\]]+)(/.*)?")}


@dataclass(slots=True)
class ToolCall:
    """A tool call. `arguments` is JSON text; it is complete when `done` is True."""

    id: str | None = None
    name: str | None = None
    arguments: str = ""
    done: bool = False


def is_tool_path(path: str, style: PathStyle) -> bool:
    """Whether the path is one of tool calls, and not of the answer's JSON."""
    root = _ROOT[style]
    return path.startswith(root) and path[len(root) : len(root) + 1] in ("", ".", "[", "/")


class ToolPath(NamedTuple):
    """A path of tool calls: the tool, and the path in its arguments; both None for whole calls."""

    tool: str | None
    inner: str | None


def read_tool_path(path: str, tools: Mapping[str, Output], style: PathStyle) -> ToolPath:
    """Raises `ResponseUsageError` for a path that no tool call has."""
    rest = path[len(_ROOT[style]) :]
    if _WHOLE[style].fullmatch(rest):
        return ToolPath(None, None)
    described = _described_tool(rest, tools, style)
    if described is not None:
        return described
    found = _TOOL[style].fullmatch(rest)
    if found is None:
        raise ResponseUsageError(
            f"the path {path!r} is none of tool calls: write {render((_KEY, None), style)} for whole calls, or"
            f" {render((_KEY, 'search', 'queries', None), style)} for a place in the arguments of the tool search"
        )
    tool, inner = found[1], found[2] or ("/" if style == "slash" else "")
    if tools and tool not in tools:
        raise ResponseUsageError(f"the path {path!r} names no tool of this response; its `tools` are {[*tools]}")
    if inner not in ("", "/"):
        check_paths([inner], None, style)
    return ToolPath(tool, inner)


def unknown_tool(name: str | None, tools: Iterable[str]) -> str:
    """What is wrong with a call of a tool that was not described, in words for the model."""
    return f"it calls the tool {name or ''!r}, which does not exist; the tools are {', '.join(tools)}"


def _described_tool(rest: str, tools: Mapping[str, Output], style: PathStyle) -> ToolPath | None:
    """The path if it begins with the name of a described tool. A name may contain dots: the longest one counts."""
    sign = SEPARATOR[style]
    for tool in sorted(tools, key=len, reverse=True):
        inner = rest.removeprefix(sign + tool)
        if inner != rest and inner[:1] in ("", sign, "["):
            inner = inner.removeprefix(".") or ("/" if style == "slash" else "")
            if inner not in ("", "/"):
                check_paths([inner], tools[tool], style)
            return ToolPath(tool, inner)
    return None


class CallEvent(NamedTuple):
    """A completed place of a tool call: the paths by which a reader may follow it, the exact one first."""

    tool: str
    number: int
    """The index of the call."""
    event: Event | None
    """The place in the arguments; None for the whole call."""
    place: FieldPlace
    names: tuple[str, ...]
    call: ToolCall
    arguments: Any = None
    """Of a whole call: its arguments, parsed."""


@dataclass(slots=True)
class _Reading:
    """A call that is being read."""

    parser: InstantParser
    name: str = ""
    id: str | None = None
    texts: list[str] = field(default_factory=list[str])
    read: int = 0
    """How many of the texts the parser has read."""


class CallReader:
    """Reads the tool calls of one answer. `strict`, `repair`: see `Response`; they hold for arguments, too."""

    def __init__(self, style: PathStyle, *, strict: bool = False, repair: bool = True) -> None:
        self._style: PathStyle = style
        self._strict = strict
        self._repair = repair
        self._calls: dict[int, _Reading] = {}

    def take(self, piece: ToolCallDelta) -> Iterator[CallEvent]:
        """Yield what a piece of a call completes. Raises `ValueError` if the arguments are not JSON."""
        call = self._calls.get(piece.index)
        if call is None:
            call = self._calls[piece.index] = _Reading(InstantParser(root="object", path_style=self._style))
        call.name += piece.name or ""
        call.id = call.id or piece.id
        if piece.arguments:
            call.texts.append(piece.arguments)
        if not call.name and not piece.done:
            return  # the paths have the name, which some servers send last
        unread = "".join(call.texts[call.read :])
        call.read = len(call.texts)
        if unread:
            yield from self._places(piece.index, call, call.parser.feed(unread))
        if piece.done:
            yield from self._end(piece.index, call)

    def _places(self, number: int, call: _Reading, events: list[Event]) -> Iterator[CallEvent]:
        lost = call.parser.lost_character
        if lost is not None:
            raise ValueError(f"{call_name(number, call.name)}: {lost}")
        for event in events:
            if event.event_type == "reset":
                raise ValueError(f"{call_name(number, call.name)}: the arguments are more than one JSON object")
            if event.is_complete:
                keys = event.node.keys
                wildcard = (key if isinstance(key, str) else None for key in keys)
                names = (self._path(call.name, *keys), self._path(call.name, *wildcard))
                place = FieldPlace(self._path(number, *keys), names[1], (_KEY, number, *keys))
                yield CallEvent(call.name, number, event, place, names, ToolCall(call.id, call.name))

    def _path(self, *steps: Step) -> str:
        return render((_KEY, *steps), self._style)

    def _end(self, number: int, call: _Reading) -> Iterator[CallEvent]:
        text = "".join(call.texts)
        if not text.strip():  # a tool without parameters
            yield from self._places(number, call, call.parser.feed("{}"))
        yield from self._places(number, call, call.parser.finish("stop"))
        problem = call.parser.objection(repair=self._repair)
        mistake = _mistake(text)
        goes_on = mistake is not None and (self._strict or mistake.msg == "Extra data")
        if problem is not None or not call.parser.complete or goes_on:
            why = "they end inside of their JSON" if not call.parser.complete else "other text follows"
            why = why if problem is None else problem.message
            raise ValueError(f"{call_name(number, call.name)}: the arguments are not one JSON object: {why}")
        names = (self._path(number), self._path(None))
        place = FieldPlace(*names, (_KEY, number))
        if mistake is not None:  # the text was read, but programs that use the call expect JSON
            text = json.dumps(call.parser.value, ensure_ascii=False)
        whole = ToolCall(call.id, call.name or None, text, True)
        yield CallEvent(call.name, number, None, place, names, whole, call.parser.value)


def call_name(number: int, tool: str) -> str:
    """How errors name a call, by its index and its tool."""
    return f"tool call {number + 1} ({tool!r})"


def _mistake(text: str) -> json.JSONDecodeError | None:
    """Why the arguments are not plain JSON, or None."""
    try:
        json.loads(text or "{}")
    except json.JSONDecodeError as error:
        return error
    return None
