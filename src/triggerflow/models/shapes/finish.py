"""Why an answer ended: the words of all providers, by what they mean.

Providers use different words, so those for a normal end, a limit and a filter become OpenAI's. Words for a failure stay
as they are, to be shown. A word that is in no list counts as a normal end: new models bring new words, and the answer
is checked all the same. It is shown in the response's meta.
"""

from enum import Enum
from typing import Any, Literal

Ending = Literal["end", "cut", "filter", "refusal", "failure"]

WORDS: dict[str, tuple[Ending, tuple[str, ...]]] = {
    "stop": (
        "end",
        (
            *("stop", "end_turn", "stop_sequence", "stop_word", "eos", "eos_token", "end", "complete", "completed"),
            *("finish", "finished", "done", "load", "unload", "word"),
        ),
    ),
    "tool_calls": ("end", ("tool_calls", "tool_call", "tool_use", "function_call", "function_calls")),
    "length": (
        "cut",
        (
            *("length", "max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit", "limit"),
            *("model_context_window_exceeded", "context_length", "error_limit", "time_limit", "max_new_tokens"),
        ),
    ),
    "pause_turn": ("cut", ("pause_turn", "compaction")),
    "content_filter": (
        "filter",
        (
            *("content_filter", "content_filtered", "content-filter", "safety", "recitation", "prohibited_content"),
            *("blocklist", "spii", "language", "image_safety", "image_prohibited_content", "image_recitation"),
            *("guardrail_intervened", "model_armor", "sensitive", "error_toxic", "blocked", "moderation"),
        ),
    ),
    "refusal": ("refusal", ("refusal", "refused")),
}
"""Our word for a finish reason -> what it means, and the words of providers for it, in lower case."""
FAILURES = {
    *("error", "abort", "aborted", "cancel", "cancelled", "canceled", "failed", "failure", "timeout", "incomplete"),
    *("insufficient_system_resource", "network_error", "server_error", "internal_error", "engine_error", "overloaded"),
    *("malformed_function_call", "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature"),
    *("malformed_model_output", "malformed_tool_use", "malformed_response", "other", "image_other", "no_image"),
    *("user_cancel", "preempted", "repetition"),
}
"""The provider, or the model at the provider, failed: the answer ended although it was not complete."""
NOTHING = {
    *("", "null", "none", "nil", "unspecified", "finish_reason_unspecified", "finish_reason_null", "not_finished"),
    "in_progress",
}
"""Not the end: some servers send these words in every chunk."""

_MEANT: dict[str, str] = {word: ours for ours, (_, words) in WORDS.items() for word in words}
_NUMBERS = (  # the enum of Gemini's protocol buffers
    *("", "stop", "max_tokens", "safety", "recitation", "other", "blocklist", "prohibited_content", "spii"),
    "malformed_function_call",
)


def finish_reason(value: Any) -> str | None:
    """Our word for a provider's finish reason; its own word if it is of a failure or unknown; None if it is none."""
    if value is None:
        return None
    if isinstance(value, Enum):
        value = value.value if isinstance(value.value, str) else value.name
    if isinstance(value, int):
        value = _NUMBERS[value] if 0 <= value < len(_NUMBERS) else str(value)
    word = str(value)
    low = word.strip().lower()
    return None if low in NOTHING else _MEANT.get(low, word)


def ending_of(reason: str) -> Ending:
    """What a finish reason that `finish_reason` returned means."""
    if reason in WORDS:
        return WORDS[reason][0]
    return "failure" if reason.lower() in FAILURES else "end"
