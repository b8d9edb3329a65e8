"""Gemini's `generateContent`, as its API writes it (camel case) and as its SDKs do."""

from typing import Any

from .delta import UNSAID, Delta, ToolCallDelta
from .fields import either, get, items, json_of, number_of, text_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of


def is_gemini(chunk: Any) -> bool:
    """Whether a chunk is of Gemini. The last one may have token counts and no candidate, a refused one neither."""
    if get(chunk, "candidates") is not None or either(chunk, "promptFeedback", "prompt_feedback") is not None:
        return True
    usage = either(chunk, "usageMetadata", "usage_metadata")
    return either(usage, "promptTokenCount", "prompt_token_count", "totalTokenCount", "total_token_count") is not None


def read_gemini(chunk: Any, seen: Seen) -> Delta:
    """Read a chunk: of its candidates the one that came first, of its calls each one as a whole."""
    candidate = next(
        (
            candidate
            for candidate in items(get(chunk, "candidates"))
            if not seen.is_other_choice(number_of(get(candidate, "index"), 0))
        ),
        None,
    )
    text = reasoning = ""
    calls: list[ToolCallDelta] = []
    for part in items(get(candidate, "content", "parts")):
        call = either(part, "functionCall", "function_call")
        name = get(call, "name")
        if name:
            calls.append(ToolCallDelta(UNSAID, json_of(get(call, "args") or {}), get(call, "id"), name, True))
        elif get(part, "thought"):
            reasoning += text_of(get(part, "text"))
        else:
            text += text_of(get(part, "text"))
    reason = finish_reason(either(candidate, "finishReason", "finish_reason"))
    feedback = either(chunk, "promptFeedback", "prompt_feedback")
    if reason is None and finish_reason(either(feedback, "blockReason", "block_reason")) is not None:
        reason = "content_filter"  # whatever the reason is: the prompt was blocked, and no answer follows
    return Delta(
        text,
        reasoning,
        tuple(calls),
        reason,
        usage_of(either(chunk, "usageMetadata", "usage_metadata")),
    )
