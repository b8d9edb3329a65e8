"""Cohere's chat API, version 2."""

from typing import Any

from .delta import UNSAID, Delta, ToolCallDelta
from .fields import get, json_of, kind_of, number_of, parts_of, text_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of

_EVENTS = {
    *("message-start", "content-start", "content-delta", "content-end", "tool-plan-delta", "tool-call-start"),
    *("tool-call-delta", "tool-call-end", "citation-start", "citation-end", "message-end", "debug"),
}


def is_cohere(chunk: Any) -> bool:
    """Whether a chunk is an event of Cohere."""
    return kind_of(chunk) in _EVENTS


def read_cohere(event: Any, seen: Seen) -> Delta:
    """Read an event."""
    kind = kind_of(event)
    message = get(event, "delta", "message")
    if kind in ("content-start", "content-delta"):
        content = get(message, "content")
        text, reasoning, _ = parts_of([content] if content else None)
        return Delta(text=text, reasoning=reasoning or text_of(get(content, "thinking")))
    if kind == "tool-plan-delta":
        return Delta(reasoning=text_of(get(message, "tool_plan")))
    if kind in ("tool-call-start", "tool-call-delta", "tool-call-end"):
        call, index = get(message, "tool_calls"), number_of(get(event, "index"), UNSAID)
        function = get(call, "function")
        text, name = json_of(get(function, "arguments")), get(function, "name")
        return Delta(tool_calls=(ToolCallDelta(index, text, get(call, "id"), name, kind == "tool-call-end"),))
    if kind == "message-end":
        delta = get(event, "delta")
        return Delta(finish_reason=finish_reason(get(delta, "finish_reason")), usage=usage_of(get(delta, "usage")))
    return Delta()
