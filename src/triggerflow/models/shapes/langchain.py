"""LangChain's message chunks, for models that a program reads through its clients."""

from typing import Any

from .delta import UNSAID, Delta, ToolCallDelta
from .fields import either, get, items, json_of, number_of, parts_of, thought_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of


def is_langchain(chunk: Any) -> bool:
    """Whether a chunk is a message chunk of LangChain."""
    return get(chunk, "tool_call_chunks") is not None and get(chunk, "response_metadata") is not None


def read_langchain(chunk: Any, seen: Seen) -> Delta:
    """Read a chunk."""
    text, reasoning, refusal = parts_of(get(chunk, "content"))
    more = get(chunk, "additional_kwargs")
    said = get(chunk, "response_metadata")
    calls = tuple(
        ToolCallDelta(
            number_of(get(call, "index"), UNSAID), json_of(get(call, "args")), get(call, "id"), get(call, "name")
        )
        for call in items(get(chunk, "tool_call_chunks"))
    )
    reason = finish_reason(either(said, "finish_reason", "stop_reason", "done_reason", "stopReason"))
    if reason is None and get(chunk, "chunk_position") == "last":
        reason = "stop"
    return Delta(
        text,
        reasoning or thought_of(get(more, "reasoning_content")),
        calls,
        reason,
        usage_of(get(chunk, "usage_metadata")),
        refusal=refusal or thought_of(get(more, "refusal")),
    )
