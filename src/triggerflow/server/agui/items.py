"""What an item of the runtime stream says in a conversation.

Flows need nothing new for it. An item is read in one of the forms that they put into the stream anyway:

* a text, or `{"delta": text}` with any other fields, which `compact` merges, too;
* a pair of a response's views "specific" and "all", such as `("delta", text)` or `("tool_calls", pieces)`;
* a `ToolCall` or `ToolCallDelta` of `triggerflow.models`;
* a message of the chat API: `{"role": "assistant", "content", "tool_calls"}` or
  `{"role": "tool", "tool_call_id", "content"}`.

What is none of these is for the application.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec

from ...serialize.marked import TYPE

#: The names of types in `triggerflow.models`, as recorded values show them.
_CALL_TYPES = ("ToolCall", "ToolCallDelta")


class Text(NamedTuple):
    """A piece of what the assistant says. `about` are the other fields of the item: another text has others."""

    delta: str
    about: Mapping[str, Any] = {}


class Thought(NamedTuple):
    """A piece of the model's reasoning."""

    delta: str


class CallPiece(NamedTuple):
    """A piece of a tool call. `number` tells the calls of one answer apart, None if only the id does."""

    number: int | None
    id: str | None
    name: str | None
    arguments: str
    done: bool


class Calls(NamedTuple):
    """Pieces of tool calls."""

    pieces: tuple[CallPiece, ...]


class Message(NamedTuple):
    """A whole message of the assistant."""

    text: str
    calls: tuple[CallPiece, ...]


class ToolResult(NamedTuple):
    """What a tool has returned."""

    call: str
    content: str


class AnswerEnded(NamedTuple):
    """An answer, or its reasoning, is complete, and this is all of it."""

    text: str
    reasoning: bool


class AnswerReset(NamedTuple):
    """What came of the answer is void, and another one follows."""


class Usage(NamedTuple):
    """What an answer has cost. `counts` has the keys of a response's meta data."""

    model: str | None
    counts: Mapping[str, int]
    meta: Any


class Raw(NamedTuple):
    """A provider's own chunk."""

    chunk: Any


class Other(NamedTuple):
    """Something of the application."""

    name: str
    value: Any


Part = Text | Thought | Calls | Message | ToolResult | AnswerEnded | AnswerReset | Usage | Raw | Other


def read_item(item: Any) -> Part:
    """What an item says."""
    if isinstance(item, str):
        return Text(item)
    found: Part | None = None
    if isinstance(item, list):
        pair = cast("list[Any]", item)
        if len(pair) == 2 and isinstance(pair[0], str):
            found = _pair(pair[0], pair[1])
    elif isinstance(item, dict):
        found = _fields(cast("dict[str, Any]", item))
    return Other(_name(item), item) if found is None else found


def _pair(name: str, value: Any) -> Part | None:
    """One of the pairs of a response's views; None for another list of two."""
    if isinstance(value, str):
        match name:
            case "delta" | "refusal_delta":
                return Text(value)
            case "reasoning_delta":
                return Thought(value)
            case "done" | "reasoning_done":
                return AnswerEnded(value, name == "reasoning_done")
            case _:
                return None
    if name == "tool_calls":
        return _calls(value)
    if name == "reset" and isinstance(value, int) and not isinstance(value, bool):
        return AnswerReset()
    if name == "meta" and isinstance(value, dict) and "usage" in value:
        return _usage(cast("dict[str, Any]", value))
    return Raw(value) if name == "original_delta" else None


def _fields(item: dict[str, Any]) -> Part | None:
    if item.get(TYPE) in _CALL_TYPES:
        return _calls([item])
    if TYPE in item:  # an object of the flow's own
        return None
    role = item.get("role")
    if role == "tool" and isinstance(item.get("tool_call_id"), str) and "content" in item:
        return ToolResult(item["tool_call_id"], text_of(item["content"]))
    if role == "assistant" and ("content" in item or "tool_calls" in item):
        calls = _calls(item.get("tool_calls") or [], whole=True)
        return None if calls is None else Message(text_of(item.get("content")), calls.pieces)
    for name in ("delta", "refusal_delta"):
        if isinstance(item.get(name), str):
            return Text(item[name], {key: value for key, value in item.items() if key != name})
    if len(item) == 1:
        ((name, value),) = item.items()
        return _pair(name, value) if name in ("reasoning_delta", "tool_calls") else None
    return None


def _calls(found: Any, *, whole: bool = False) -> Calls | None:
    """Pieces of tool calls, as a response gives them or as the chat API has them; None if it is something else."""
    if not isinstance(found, list):
        return None
    pieces: list[CallPiece] = []
    for piece in cast("list[Any]", found):
        if not isinstance(piece, dict):
            return None
        fields = cast("dict[str, Any]", piece)
        inner = fields.get("function")
        call = cast("dict[str, Any]", inner) if isinstance(inner, dict) else fields
        index, id, name = fields.get("index"), fields.get("id"), call.get("name")
        arguments = call.get("arguments", "")
        if not (isinstance(id, str | None) and isinstance(name, str | None) and isinstance(index, int | None)):
            return None
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        done = whole or fields.get("done") is True or (index is None and "done" not in fields)
        pieces.append(CallPiece(index, id or None, name or None, arguments, done))
    return Calls(tuple(pieces))


def _usage(meta: dict[str, Any]) -> Usage:
    """The counts of all attempts: each of them was paid for."""
    counts: dict[str, int] = {}
    for entry in as_list(meta.get("attempts")) or [meta]:
        for key, count in as_object(as_object(entry).get("usage")).items():
            if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
                counts[key] = counts.get(key, 0) + count
    model = meta.get("model")
    return Usage(model if isinstance(model, str) else None, counts, meta)


def text_of(content: Any) -> str:
    """The content of a message as text: its parts of text, or, for other data, their JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = as_list(content)
        texts = [it for it in (as_object(part).get("text") for part in parts) if isinstance(it, str)]
        if texts:
            return "\n".join(texts)
    return msgspec.json.encode(content).decode()


def as_object(value: Any) -> dict[str, Any]:
    """A value if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A value if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def _name(item: Any) -> str:
    """Under which name an item is sent to the application."""
    fields = as_object(item)
    kind: Any = fields.get("type") or fields.get(TYPE)
    return kind if isinstance(kind, str) else "item"
