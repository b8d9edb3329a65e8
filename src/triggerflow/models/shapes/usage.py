"""Token counts in the words of all providers.

`prompt_tokens` counts what the model read, the cached part included, and `completion_tokens` what it wrote, its
reasoning included. `cached_tokens` and `reasoning_tokens` are these parts, where the provider says them.
"""

from typing import Any

from .fields import get

COUNTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "prompt_tokens": (
        *(("prompt_tokens",), ("input_tokens",), ("promptTokenCount",), ("prompt_token_count",), ("inputTokens",)),
        *(("prompt_eval_count",), ("tokens_evaluated",), ("tokens", "input_tokens")),
    ),
    "completion_tokens": (
        *(("completion_tokens",), ("output_tokens",), ("candidatesTokenCount",), ("candidates_token_count",)),
        *(("outputTokens",), ("eval_count",), ("tokens_predicted",), ("tokens", "output_tokens")),
    ),
    "total_tokens": (("total_tokens",), ("totalTokenCount",), ("total_token_count",), ("totalTokens",)),
    "cached_tokens": (
        *(("prompt_tokens_details", "cached_tokens"), ("input_tokens_details", "cached_tokens")),
        *(("cache_read_input_tokens",), ("cacheReadInputTokens",), ("cachedContentTokenCount",)),
        *(("cached_content_token_count",), ("prompt_cache_hit_tokens",), ("cached_tokens",)),
        ("input_token_details", "cache_read"),
    ),
    "reasoning_tokens": (
        *(("completion_tokens_details", "reasoning_tokens"), ("output_tokens_details", "reasoning_tokens")),
        *(("output_tokens_details", "thinking_tokens"), ("thoughtsTokenCount",), ("thoughts_token_count",)),
        *(("reasoning_tokens",), ("output_token_details", "reasoning")),
    ),
}
"""Our name of a count -> where providers have it."""
_BESIDE = {
    "prompt_tokens": (
        *(("cache_read_input_tokens", "input_tokens"), ("cache_creation_input_tokens", "input_tokens")),
        *(("cacheReadInputTokens", "inputTokens"), ("cacheWriteInputTokens", "inputTokens")),
    ),
    "completion_tokens": (
        *(("thoughtsTokenCount", "promptTokenCount"), ("thoughts_token_count", "prompt_token_count")),
    ),
}
"""Counts that a provider gives beside a count, instead of within it, if it gives the second field as well: Anthropic's
input without what was cached, Gemini's candidates without thoughts."""


def usage_of(counted: Any) -> dict[str, int] | None:
    """The counts in an object of token counts, in our names; None if there are none."""
    if counted is None:
        return None
    found: dict[str, int] = {}
    for name, places in COUNTS.items():
        for place in places:
            count = get(counted, *place)
            if _is_count(count):
                found[name] = count
                break
    for name, beside in _BESIDE.items():
        if name not in found and name != "completion_tokens":
            continue
        extra = [get(counted, field) for field, with_field in beside if get(counted, with_field) is not None]
        counts = [count for count in extra if _is_count(count)]
        if counts:
            found[name] = found.get(name, 0) + sum(counts)
    return found or None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
