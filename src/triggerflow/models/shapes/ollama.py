"""Ollama's own API: `/api/chat` and `/api/generate`."""

from typing import Any

from .delta import UNSAID, Delta, ToolCallDelta
from .fields import get, items, json_of, text_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of


def is_ollama(chunk: Any) -> bool:
    """Whether a chunk is of Ollama: it says whether it is the last one."""
    if not isinstance(get(chunk, "done"), bool):
        return False
    return any(get(chunk, name) is not None for name in ("message", "response", "done_reason", "eval_count"))


def read_ollama(chunk: Any, seen: Seen) -> Delta:
    """Read a chunk. Each call in it is whole."""
    message = get(chunk, "message")
    calls = tuple(
        ToolCallDelta(
            UNSAID,
            json_of(get(call, "function", "arguments") or {}),
            get(call, "id"),
            get(call, "function", "name"),
            True,
        )
        for call in items(get(message, "tool_calls"))
    )
    done = get(chunk, "done")
    return Delta(
        text=text_of(get(message, "content") if message is not None else get(chunk, "response")),
        reasoning=text_of(get(message, "thinking") or get(chunk, "thinking")),
        tool_calls=calls,
        finish_reason=finish_reason(get(chunk, "done_reason") or "stop") if done else None,
        usage=usage_of(chunk) if done else None,
    )
