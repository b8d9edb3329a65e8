"""OpenAI's chat completions and text completions, and all that speak them; the events of the SDK's stream helper."""

from collections.abc import Mapping
from typing import Any, cast

from .delta import UNSAID, Delta, ToolCallDelta
from .failures import reported_error
from .fields import fields_of, get, items, json_of, kind_of, number_of, parts_of, text_of, thought_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of

HELPER = {
    *("chunk", "content.delta", "content.done", "refusal.delta", "refusal.done"),
    *("tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"),
    *("logprobs.content.delta", "logprobs.content.done", "logprobs.refusal.delta", "logprobs.refusal.done"),
}
"""The types of the events of `client.chat.completions.stream(...)`."""


def is_chat(chunk: Any) -> bool:
    """Whether a chunk is of a completion. `choices` may be null or missing where there are only token counts."""
    choices = get(chunk, "choices")
    if choices is not None:
        return isinstance(choices, list | tuple)
    kind = get(chunk, "object")
    if isinstance(kind, str) and kind.startswith(("chat.completion", "text_completion")):
        return True
    if get(chunk, "usage", "prompt_tokens") is not None:
        return True
    # The SDK makes an object without choices of whatever comes: it is a chunk if anything else is known of it.
    has_choices = "choices" in chunk if isinstance(chunk, Mapping) else hasattr(chunk, "choices")
    return has_choices and any(get(chunk, name) is not None for name in ("id", "model", "created"))


def read_chat(chunk: Any, seen: Seen) -> Delta:
    """Read a chunk, or a whole completion."""
    counted = get(chunk, "usage")
    groq = get(chunk, "x_groq")
    if groq is not None:
        counted = counted or get(groq, "usage")
        if error := get(groq, "error"):
            seen.failure = reported_error(error)
    choice = _choice(chunk, seen)
    if choice is None:
        return Delta(usage=usage_of(counted), raw=seen.raw)
    error = get(choice, "error")
    if error:
        seen.failure = reported_error(error)
    reason = finish_reason(get(choice, "finish_reason"))
    usage = usage_of(counted or get(choice, "usage"))
    message = fields_of(get(choice, "delta"))
    whole = message is None or (reason is not None and _is_empty(message))
    whole = whole and get(choice, "message") is not None
    if whole:
        message = fields_of(get(choice, "message"))
        reason = reason or "stop"
    if message is not None and (error := get(message, "error")):
        seen.failure = reported_error(error)
    if message is None:
        return Delta(text_of(get(choice, "text")), finish_reason=reason, usage=usage, raw=seen.raw)
    if whole and "content" in seen.parts:  # it repeats what has been streamed
        return Delta(finish_reason=reason, usage=usage, raw=seen.raw)
    content = get(message, "content")
    reasoning = refusal = ""
    if isinstance(content, str):
        text = content
    else:
        text, reasoning, refusal = parts_of(content)
    thought = get(message, "reasoning_content") or get(message, "reasoning") or get(message, "reasoning_details")
    if thought:
        reasoning += thought_of(thought)
    refused = get(message, "refusal")
    if refused:
        refusal += text_of(refused)
    calls: tuple[ToolCallDelta, ...] = ()
    if called := get(message, "tool_calls"):
        calls = tuple(_call(call, whole) for call in items(called))
    elif legacy := get(message, "function_call"):
        calls = (_call({"function": legacy}, whole),)
    if text or reasoning or refusal or calls:
        seen.parts.add("content")
    return Delta(text, reasoning, calls, reason, usage, seen.raw, refusal)


def _is_empty(message: Any) -> bool:
    """Whether the last delta says nothing, so that the whole message beside it may be the answer."""
    return not any(get(message, name) for name in ("content", "tool_calls", "function_call", "refusal"))


def _choice(chunk: Any, seen: Seen) -> Any:
    choices = get(chunk, "choices")
    for item in cast("list[Any]", choices) if isinstance(choices, list | tuple) else ():
        choice = fields_of(item)
        if choice is not None and not seen.is_other_choice(number_of(get(choice, "index"), 0)):
            return choice
    return None


def _call(call: Any, whole: bool) -> ToolCallDelta:
    function = get(call, "function") or get(call, "custom") or call
    arguments = get(function, "arguments")
    if arguments is None:
        arguments = get(function, "input")
    name = get(function, "name")
    return ToolCallDelta(
        number_of(get(call, "index"), UNSAID),
        json_of(arguments),
        get(call, "id"),
        name,
        # Arguments that are not text come as a whole.
        bool(name) and (whole or not (not arguments or isinstance(arguments, str))),
    )


def is_helper(chunk: Any) -> bool:
    """Whether an event is of the SDK's stream helper."""
    return kind_of(chunk) in HELPER


def read_helper(event: Any, seen: Seen) -> Delta:
    """Read an event of the helper. It yields each chunk, and then what it has found in that chunk: this counts only if
    the program has kept the chunks back."""
    kind = kind_of(event)
    if kind == "chunk":
        seen.parts.add("chunk")
        return read_chat(fields_of(get(event, "chunk")), seen)
    if "chunk" in seen.parts:
        return Delta()
    if kind == "content.delta":
        return Delta(text=text_of(get(event, "delta")))
    if kind == "refusal.delta":
        return Delta(refusal=text_of(get(event, "delta")))
    if kind == "tool_calls.function.arguments.delta":
        index, name = number_of(get(event, "index"), UNSAID), get(event, "name")
        return Delta(tool_calls=(ToolCallDelta(index, text_of(get(event, "arguments_delta")), None, name),))
    return Delta()
