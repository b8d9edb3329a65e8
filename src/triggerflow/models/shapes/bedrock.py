"""Amazon Bedrock's `ConverseStream`: each event is an object with one field, named like the event."""

from typing import Any

from .delta import Delta, ToolCallDelta
from .fields import get, json_of, number_of, text_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of

_EVENTS = ("contentBlockDelta", "contentBlockStart", "contentBlockStop", "messageStart", "messageStop", "metadata")


def is_converse(chunk: Any) -> bool:
    """Whether a chunk is an event of ConverseStream."""
    return any(get(chunk, name) is not None for name in _EVENTS[:-1]) or (
        get(chunk, "metadata", "usage", "inputTokens") is not None
    )


def read_converse(chunk: Any, seen: Seen) -> Delta:
    """Read an event."""
    kind, event = next((name, found) for name in _EVENTS if (found := get(chunk, name)) is not None)
    index = number_of(get(event, "contentBlockIndex"), 0)
    if kind == "contentBlockStart":
        call = get(event, "start", "toolUse")
        if call is None:
            return Delta()
        seen.blocks[index] = "toolUse"
        return Delta(tool_calls=(ToolCallDelta(index, "", get(call, "toolUseId"), get(call, "name")),))
    if kind == "contentBlockDelta":
        delta = get(event, "delta")
        piece = get(delta, "toolUse", "input")
        return Delta(
            text=text_of(get(delta, "text")),
            reasoning=text_of(get(delta, "reasoningContent", "text")),
            tool_calls=() if piece is None else (ToolCallDelta(index, json_of(piece)),),
        )
    if kind == "contentBlockStop":
        return Delta(tool_calls=(ToolCallDelta(index, done=True),) if index in seen.blocks else ())
    if kind == "messageStop":
        return Delta(finish_reason=finish_reason(get(event, "stopReason")))
    return Delta(usage=usage_of(get(event, "usage")))
