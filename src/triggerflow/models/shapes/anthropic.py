"""Anthropic's messages: the events of the stream, those of the SDK's stream helper, and a whole message."""

from typing import Any

from msgspec.structs import replace

from .delta import Delta, ToolCallDelta
from .fields import get, items, json_of, kind_of, number_of, text_of, thought_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of

EVENTS = {
    *("message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta"),
    "content_block_stop",
}
HELPER = {"text", "thinking", "input_json", "citation", "signature", "compaction"}
"""The helper's own events. It yields them after the event of the stream in which it has found their content."""
_OF_PROGRAM = "tool_use"
"""The type of a block that calls a tool of the program. The tools of other blocks run at Anthropic."""


def is_message(chunk: Any) -> bool:
    """Whether a chunk is an event of a message, or a whole message."""
    kind = kind_of(chunk)
    if kind in EVENTS or kind in HELPER:
        return True
    return kind == "message" and isinstance(get(chunk, "content"), list)


def read_message(event: Any, seen: Seen) -> Delta:
    """Read an event."""
    kind = kind_of(event)
    if kind in HELPER:
        return _helper(event, kind, seen)
    if kind in ("content_block_start", "content_block_delta", "content_block_stop"):
        seen.parts.add("block")
        index = number_of(get(event, "index"), 0)
        if kind == "content_block_delta":
            return _piece(get(event, "delta"), index, seen)
        if kind == "content_block_start":
            return _begin(get(event, "content_block"), index, seen)
        is_call = seen.blocks.get(index, _OF_PROGRAM) == _OF_PROGRAM
        return Delta(tool_calls=(*_release(seen), *([ToolCallDelta(index, done=True)] if is_call else ())))
    if kind == "message_start":
        return _whole(get(event, "message"), seen)
    if kind == "message_delta":
        delta = get(event, "delta")
        details = get(delta, "stop_details")
        reason = finish_reason(get(delta, "stop_reason"))
        return Delta(
            tool_calls=_release(seen) if reason else (),
            finish_reason=reason,
            usage=_counts(get(event, "usage"), seen),
            refusal=text_of(get(details, "explanation")) if reason == "refusal" else "",
        )
    if kind == "message":
        whole = _whole(event, seen)
        return whole if whole.finish_reason else replace(whole, finish_reason="stop")
    # message_stop: an end, also for servers that give no reason before it
    reason = None if seen.finished else finish_reason(get(event, "message", "stop_reason") or "stop")
    return Delta(tool_calls=_release(seen), finish_reason=reason)


def _begin(block: Any, index: int, seen: Seen) -> Delta:
    kind = seen.blocks[index] = kind_of(block)
    calls = _release(seen)
    if kind == "text":
        return Delta(text=text_of(get(block, "text")), tool_calls=calls)
    if kind == "thinking":
        return Delta(reasoning=text_of(get(block, "thinking")), tool_calls=calls)
    if kind == _OF_PROGRAM:
        arguments = get(block, "input")
        if arguments:
            seen.held[index] = json_of(arguments)
        calls = (*calls, ToolCallDelta(index, "", get(block, "id"), get(block, "name")))
    return Delta(tool_calls=calls)


def _piece(delta: Any, index: int, seen: Seen) -> Delta:
    # Without `type`, the field says what it is: some compatible servers leave the type out.
    arguments = get(delta, "partial_json")
    if arguments is not None:
        if seen.blocks.get(index, _OF_PROGRAM) != _OF_PROGRAM:
            return Delta()
        seen.held.pop(index, None)
        return Delta(tool_calls=(ToolCallDelta(index, json_of(arguments)),))
    text, thought = get(delta, "text"), get(delta, "thinking")
    return Delta(text=text_of(text), reasoning=text_of(thought))


def _release(seen: Seen) -> tuple[ToolCallDelta, ...]:
    """The arguments that came with the beginning of a block, after which no pieces came."""
    held = tuple(ToolCallDelta(index, text, done=True) for index, text in seen.held.items())
    seen.held.clear()
    return held


def _whole(message: Any, seen: Seen) -> Delta:
    text = reasoning = ""
    calls: list[ToolCallDelta] = []
    for index, block in enumerate(items(get(message, "content"))):
        kind = kind_of(block)
        if kind == "text":
            text += text_of(get(block, "text"))
        elif kind == "thinking":
            reasoning += thought_of(block)
        elif kind == _OF_PROGRAM:
            whole = json_of(get(block, "input") or {})
            calls.append(ToolCallDelta(index, whole, get(block, "id"), get(block, "name"), True))
    reason = finish_reason(get(message, "stop_reason"))
    refusal = text_of(get(message, "stop_details", "explanation")) if reason == "refusal" else ""
    return Delta(text, reasoning, tuple(calls), reason, _counts(get(message, "usage"), seen), refusal=refusal)


def _counts(usage: Any, seen: Seen) -> dict[str, int] | None:
    """The counts so far: the end brings the output, and sometimes other numbers for what the beginning has counted."""
    if usage is None:
        return None
    for name in (
        *("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("output_tokens", "output_tokens_details"),
    ):
        count = get(usage, name)
        if count is not None:
            seen.counts[name] = count
    return usage_of(seen.counts)


def _helper(event: Any, kind: Any, seen: Seen) -> Delta:
    if "block" in seen.parts:
        return Delta()
    if kind == "text":
        return Delta(text=text_of(get(event, "text")))
    if kind == "thinking":
        return Delta(reasoning=text_of(get(event, "thinking")))
    return Delta()
