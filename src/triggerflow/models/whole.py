"""A whole answer, as servers give it that do not stream, as the chunks in which the same API would stream it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

Json = Mapping[str, Any]


def chunks_of(body: Json) -> list[Json]:
    """The chunks of a whole answer of OpenAI's or Anthropic's APIs; any other body as one chunk, as it is."""
    if choices := _objects(body.get("choices")):
        return [{**body, "choices": [_choice(choice) for choice in choices]}]
    if body.get("type") == "message" and isinstance(body.get("content"), list):
        return list(_message(body))
    if body.get("object") == "response" and isinstance(body.get("output"), list):
        return list(_response(body))
    return [body]


def _choice(choice: Json) -> Json:
    message = choice.get("message")
    if not isinstance(message, Mapping) or choice.get("delta"):
        return choice
    delta = dict(cast("Json", message))
    delta["tool_calls"] = [{**call, "index": index} for index, call in enumerate(_objects(delta.get("tool_calls")))]
    return {**choice, "delta": delta, "finish_reason": choice.get("finish_reason") or "stop"}


def _message(message: Json) -> Iterator[Json]:
    yield {"type": "message_start", "message": {**message, "content": []}}
    for index, block in enumerate(_objects(message["content"])):
        deltas = {
            "text": {"type": "text_delta", "text": block.get("text")},
            "thinking": {"type": "thinking_delta", "thinking": block.get("thinking")},
            "tool_use": {"type": "input_json_delta", "partial_json": _text(block.get("input"))},
        }
        begun: Json = {**block, "text": "", "thinking": "", "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        if delta := deltas.get(str(block.get("type"))):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    reason = message.get("stop_reason") or "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": message.get("usage")}


def _response(response: Json) -> Iterator[Json]:
    yield {"type": "response.created", "response": {**response, "output": []}}
    for index, item in enumerate(_objects(response["output"])):
        place = {"output_index": index, "item_id": item.get("id")}
        yield {"type": "response.output_item.added", "item": {**item, "content": [], "arguments": ""}, **place}
        for part in (*_objects(item.get("summary")), *_objects(item.get("content"))):
            kinds = {"refusal": "refusal", "summary_text": "reasoning_summary_text", "reasoning_text": "reasoning_text"}
            kind = kinds.get(str(part.get("type")), "output_text")
            said = part.get("refusal") if kind == "refusal" else part.get("text")
            yield {"type": f"response.{kind}.delta", "delta": said, **place}
        if item.get("arguments"):
            yield {"type": "response.function_call_arguments.delta", "delta": item["arguments"], **place}
        yield {"type": "response.output_item.done", "item": item, **place}
    yield {"type": f"response.{response.get('status') or 'completed'}", "response": response}


def _objects(value: Any) -> list[Json]:
    return [item for item in cast("list[Any]", value) if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
