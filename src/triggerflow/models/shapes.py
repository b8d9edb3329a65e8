"""Reads the chunks of providers by their shape. No class of an SDK is imported; objects and dicts are treated alike.

One function per shape makes a `Delta`. Since providers use different words, finish reasons become OpenAI's
("stop", "length", "tool_calls", "content_filter") and token counts `prompt_tokens` and `completion_tokens`.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

from msgspec import Struct

from .errors import ProviderError

# gc=False: the garbage collector skips these objects. A response keeps one for each delta, and our code never makes one
# part of a reference cycle.


class ToolCallDelta(Struct, frozen=True, gc=False):
    """A piece of a tool call: `arguments` is JSON text, which grows; `id` and `name` come with the first piece."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


class Delta(Struct, frozen=True, gc=False):
    """One chunk of a response of any provider. `raw` is the chunk itself; `usage` has the token counts so far."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    raw: Any = None


_FINISH = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "pause_turn"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(("content_filter", "safety", "refusal", "recitation", "prohibited_content"), "content_filter"),
}
_ANTHROPIC = {
    *("message_start", "message_delta", "message_stop", "ping", "error"),
    *("content_block_start", "content_block_delta", "content_block_stop"),
}


def delta_of(chunk: Any) -> Delta:
    """Read a chunk of a known shape.

    Raises `TypeError` for a chunk of an unknown shape, or with a text that is not a string, and `ProviderError` for a
    chunk that reports an error.
    """
    if isinstance(chunk, Delta):
        _text(chunk.text)
        return chunk
    if isinstance(chunk, str):
        return Delta(text=chunk, raw=chunk)
    if get(chunk, "choices") is not None:
        return _openai(chunk)
    if get(chunk, "error"):
        raise ProviderError(f"the provider reported an error in its stream: {get(chunk, 'error')}")
    if get(chunk, "type") in _ANTHROPIC:
        return _anthropic(chunk)
    if any(get(chunk, name) is not None for name in ("candidates", "usage_metadata", "usageMetadata")):
        return _gemini(chunk)
    if get(chunk, "done") is not None and (get(chunk, "message") or get(chunk, "response")) is not None:
        return _ollama(chunk)
    raise TypeError(
        f"a delta must be text (str or UTF-8 bytes), a Delta, or a chunk shaped like those of OpenAI, Anthropic, Gemini"
        f" or Ollama, not {type(chunk).__name__}; pass a function as adapter= that turns your chunks into text"
    )


def get(chunk: Any, *names: str) -> Any:
    """The value under a path of names, in objects or mappings; None if a name is missing."""
    for name in names:
        if isinstance(chunk, Mapping):
            chunk = cast("Mapping[str, Any]", chunk).get(name)
        else:
            chunk = getattr(chunk, name, None)
    return chunk


def _openai(chunk: Any) -> Delta:
    choice = next(iter(get(chunk, "choices")), None)  # the chunk with the token counts has no choice
    delta = get(choice, "delta")
    calls = tuple(
        ToolCallDelta(
            get(call, "index") or 0,
            _text(get(call, "function", "arguments")),
            get(call, "id"),
            get(call, "function", "name"),
        )
        for call in get(delta, "tool_calls") or ()
    )
    return Delta(
        text=_text(get(delta, "content") if delta is not None else get(choice, "text")),
        reasoning=_text(get(delta, "reasoning_content") or get(delta, "reasoning")),
        tool_calls=calls,
        finish_reason=_reason(get(choice, "finish_reason")),
        usage=_usage(get(chunk, "usage"), "prompt_tokens", "completion_tokens"),
        raw=chunk,
    )


def _anthropic(chunk: Any) -> Delta:
    kind = get(chunk, "type")
    delta, index = get(chunk, "delta"), get(chunk, "index") or 0
    calls: tuple[ToolCallDelta, ...] = ()
    block = get(chunk, "content_block")
    if get(block, "type") == "tool_use":
        calls = (ToolCallDelta(index, "", get(block, "id"), get(block, "name")),)
    elif get(delta, "partial_json") is not None:
        calls = (ToolCallDelta(index, _text(get(delta, "partial_json"))),)
    counted = get(chunk, "message", "usage") if kind == "message_start" else get(chunk, "usage")
    return Delta(
        text=_text(get(delta, "text")),
        reasoning=_text(get(delta, "thinking")),
        tool_calls=calls,
        finish_reason=_reason(get(delta, "stop_reason")),
        usage=_usage(counted, "input_tokens", "output_tokens"),
        raw=chunk,
    )


def _gemini(chunk: Any) -> Delta:
    candidate = next(iter(get(chunk, "candidates") or ()), None)
    text = reasoning = ""
    calls: list[ToolCallDelta] = []
    for index, part in enumerate(get(candidate, "content", "parts") or ()):
        call = get(part, "function_call") or get(part, "functionCall")
        if call is not None:
            calls.append(ToolCallDelta(index, _json(get(call, "args") or {}), get(call, "id"), get(call, "name")))
        elif get(part, "thought"):
            reasoning += _text(get(part, "text"))
        else:
            text += _text(get(part, "text"))
    return Delta(
        text=text,
        reasoning=reasoning,
        tool_calls=tuple(calls),
        finish_reason=_reason(get(candidate, "finish_reason") or get(candidate, "finishReason")),
        usage=_usage(get(chunk, "usage_metadata"), "prompt_token_count", "candidates_token_count")
        or _usage(get(chunk, "usageMetadata"), "promptTokenCount", "candidatesTokenCount"),
        raw=chunk,
    )


def _ollama(chunk: Any) -> Delta:
    message = get(chunk, "message")
    calls = tuple(
        ToolCallDelta(index, _json(get(call, "function", "arguments") or {}), None, get(call, "function", "name"))
        for index, call in enumerate(get(message, "tool_calls") or ())
    )
    done = get(chunk, "done")
    return Delta(
        text=_text(get(message, "content") if message is not None else get(chunk, "response")),
        reasoning=_text(get(message, "thinking") or get(chunk, "thinking")),
        tool_calls=calls,
        finish_reason=_reason(get(chunk, "done_reason") or "stop") if done else None,
        usage=_usage(chunk, "prompt_eval_count", "eval_count"),
        raw=chunk,
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"the text of a delta must be a str, not {type(value).__name__}: {value!r:.80}")
    return value


def _reason(value: Any) -> str | None:
    if value is None:
        return None
    name = str(getattr(value, "value", value))  # an enum in Gemini's SDK
    return _FINISH.get(name.lower(), name)


def _usage(counted: Any, read: str, written: str) -> dict[str, int] | None:
    pairs = (("prompt_tokens", get(counted, read)), ("completion_tokens", get(counted, written)))
    return {name: count for name, count in pairs if isinstance(count, int)} or None


def _json(value: Any) -> str:
    # Some providers send the arguments of a tool call as one object. Make JSON text of it, as other providers send.
    return json.dumps(value, ensure_ascii=False)
