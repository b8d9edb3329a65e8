"""The events of an answer as servers of each dialect write them, for `sse_server.Reply`."""

import json
from collections.abc import Sequence
from typing import Any

Events = list[Any]
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def openai(pieces: Sequence[str]) -> Events:
    """OpenAI: the role first, the finish reason in a chunk of its own, then the token counts without a choice."""
    more = {"service_tier": "default", "system_fingerprint": "fp", "usage": None, "obfuscation": "x4"}
    return [
        chunk({"role": "assistant", "content": "", "refusal": None}, **more),
        *(chunk({"content": piece}, **more) for piece in pieces),
        chunk(finish="stop", **more),
        {**chunk(), "choices": [], "usage": USAGE},
        "[DONE]",
    ]


def openrouter(pieces: Sequence[str]) -> Events:
    """OpenRouter: comments while it waits, a role in every chunk, the provider's own finish reason beside ours."""
    comment = b": OPENROUTER PROCESSING\n\n"
    role = {"role": "assistant"}
    choice = {"index": 0, "delta": {**role, "content": ""}, "finish_reason": "stop", "native_finish_reason": "STOP"}
    return [
        *[comment] * 3,
        chunk(
            {**role, "content": "", "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}
        ),
        comment,
        *(chunk({**role, "content": piece}, provider="P") for piece in pieces),
        {**chunk(), "choices": [choice]},
        {**chunk(), "choices": [{**choice, "finish_reason": None}], "usage": {**USAGE, "cost": 0.1}},
        "[DONE]",
    ]


def vllm(pieces: Sequence[str]) -> Events:
    """vLLM: empty `tool_calls`, `stop_reason`, and with continuous counts the usage in every chunk."""
    usage = {**USAGE, "prompt_tokens_details": None}
    first = chunk({"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": []}, usage=usage)
    last = chunk({"content": ""}, usage=usage)
    last["choices"][0] |= {"finish_reason": "stop", "stop_reason": None, "token_ids": None}
    middle = [chunk({"content": piece, "reasoning_content": None}, usage=usage) for piece in pieces]
    return [first, *middle, last, {**chunk(), "choices": [], "usage": usage}, "[DONE]"]


def llama_cpp(pieces: Sequence[str]) -> Events:
    """llama.cpp: `content: null` with the role, `timings` and the usage in the last chunk."""
    last = {**chunk(finish="stop"), "usage": USAGE, "timings": {"predicted_n": 7, "predicted_ms": 1.5}}
    return [
        chunk({"role": "assistant", "content": None}),
        *(chunk({"content": piece}) for piece in pieces),
        last,
        "[DONE]",
    ]


def without_done(pieces: Sequence[str]) -> Events:
    """A server that ends without the mark [DONE]."""
    return openai(pieces)[:-1]


def responses(pieces: Sequence[str]) -> Events:
    """OpenAI's Responses API."""
    text = "".join(pieces)
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    item = {"id": "i1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    whole = {
        "id": "c1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "in_progress",
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "tools": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": None,
    }
    at = {"item_id": "i1", "output_index": 0, "content_index": 0}
    ended = {**item, "status": "completed", "content": [{**part, "text": text}]}
    usage = {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    completed = {**whole, "status": "completed", "output": [ended], "usage": usage}
    events = [
        {"type": "response.created", "response": whole},
        {"type": "response.in_progress", "response": whole},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []} for piece in pieces),
        {"type": "response.output_text.done", **at, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": {**part, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": ended},
        {"type": "response.completed", "response": completed},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def anthropic(pieces: Sequence[str]) -> Events:
    """Anthropic: thinking, then text, with a ping in between."""
    message = {
        "id": "c1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 1},
    }
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": thinking},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces
        ),
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    ]


def is_text(event: Any) -> bool:
    """Whether an event brings a piece of the text."""
    if not isinstance(event, dict):
        return False
    said = json.dumps(event)
    return (
        "text_delta" in said
        or "output_text.delta" in said
        or bool(event.get("choices") and event["choices"][0]["delta"].get("content"))
    )
