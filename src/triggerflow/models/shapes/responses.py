"""OpenAI's Responses API: its events, those of the SDK's stream helper, and a whole response."""

from typing import Any

from .delta import Delta, ToolCallDelta
from .failures import reported_error
from .fields import get, items, json_of, kind_of, number_of, text_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of

_TEXTS = {
    "output_text": "text",
    "text": "text",
    "refusal": "refusal",
    "reasoning_summary_text": "reasoning",
    "reasoning_summary": "reasoning",
    "reasoning_text": "reasoning",
    "reasoning": "reasoning",
}
"""Events `response.<name>.delta` and `response.<name>.done` -> the field of a `Delta` for their text."""
_COMMENTARY = "commentary"
"""The phase of a message in which the model says what it does between its tool calls. It is no part of the answer."""
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Output items that call a tool of the program -> the field with the arguments. The others run at OpenAI."""


def is_response(chunk: Any) -> bool:
    """Whether a chunk is an event of a response, or a whole response."""
    if kind_of(chunk).startswith("response."):
        return True
    return get(chunk, "object") == "response" and get(chunk, "output") is not None


def read_response(event: Any, seen: Seen) -> Delta:
    """Read an event. Its last words repeat all that came: they count where nothing had come."""
    kind = kind_of(event)
    if not kind.startswith("response."):
        return _end(event, seen)
    name, _, step = kind.removeprefix("response.").rpartition(".")
    if name in _TEXTS:
        return _text(event, seen, name, step)
    if name in ("function_call_arguments", "custom_tool_call_input"):
        return _arguments(event, seen, step)
    if name == "output_item":
        return _item(get(event, "item"), number_of(get(event, "output_index"), 0), seen, step == "done")
    if name == "content_part" and step == "done":
        return _part(get(event, "part"), _place(event), seen)
    if kind == "response.failed":
        failed = {"message": "the response failed", "code": "server_error"}
        seen.failure = reported_error(get(event, "response", "error") or failed)
    if kind in ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done"):
        return _end(get(event, "response"), seen, "" if step == "done" else step)
    return Delta()


def _place(event: Any, kind: str = "text") -> tuple[Any, ...]:
    index = number_of(get(event, "content_index"), number_of(get(event, "summary_index"), 0))
    return kind, number_of(get(event, "output_index"), 0), index


def _text(event: Any, seen: Seen, name: str, step: str) -> Delta:
    field = _TEXTS[name]
    place = _place(event, field)
    if step == "delta":
        text = text_of(get(event, "delta"))
    elif step == "done" and place not in seen.parts:
        text = text_of(get(event, "refusal" if field == "refusal" else "text"))
    else:
        return Delta()
    return _said(seen, place, text)


def _said(seen: Seen, place: tuple[Any, ...], text: str) -> Delta:
    if not text:
        return Delta()
    seen.parts.add(place)
    if place[0] == "text" and seen.blocks.get(place[1]) != _COMMENTARY:
        return Delta(text=text)
    return Delta(refusal=text) if place[0] == "refusal" else Delta(reasoning=text)


def _part(part: Any, place: tuple[Any, ...], seen: Seen) -> Delta:
    kind = kind_of(part)
    field = "refusal" if kind == "refusal" else "text"
    if kind not in ("output_text", "refusal") or (field, *place[1:]) in seen.parts:
        return Delta()
    return _said(seen, (field, *place[1:]), text_of(get(part, field)))


def _arguments(event: Any, seen: Seen, step: str) -> Delta:
    index = number_of(get(event, "output_index"), 0)
    place = ("arguments", index)
    if step == "delta":
        seen.parts.add(place)
        return Delta(tool_calls=(ToolCallDelta(index, text_of(get(event, "delta"))),))
    if step != "done":
        return Delta()
    text = "" if place in seen.parts else json_of(get(event, "arguments") or get(event, "input"))
    seen.parts.add(place)
    return Delta(tool_calls=(ToolCallDelta(index, text, done=True),))


def _item(item: Any, index: int, seen: Seen, is_done: bool) -> Delta:
    kind = kind_of(item)
    if kind == "message":
        seen.blocks[index] = str(get(item, "phase"))
    if kind in _CALLS:
        begun = ("call", index) in seen.parts
        text = "" if ("arguments", index) in seen.parts else json_of(get(item, _CALLS[kind]))
        seen.parts.add(("call", index))
        if text:
            seen.parts.add(("arguments", index))
        name = None if begun else get(item, "name")
        id = None if begun else get(item, "call_id") or get(item, "id")
        return Delta(tool_calls=(ToolCallDelta(index, text, id, name, is_done),))
    if not is_done:
        return Delta()
    found = Delta()
    if kind == "message":
        for number, part in enumerate(items(get(item, "content"))):
            found = _joined(found, _part(part, ("text", index, number), seen))
    elif kind == "reasoning" and not any(place[0] == "reasoning" and place[1] == index for place in seen.parts):
        for number, part in enumerate(items(get(item, "summary"))):
            found = _joined(found, _said(seen, ("reasoning", index, number), text_of(get(part, "text"))))
    return found


def _end(response: Any, seen: Seen, step: str = "") -> Delta:
    found = Delta()
    if not any(place[0] in ("text", "call", "refusal") for place in seen.parts):
        for index, item in enumerate(items(get(response, "output"))):
            found = _joined(found, _item(item, index, seen, True))
    status = get(response, "status") or step or "completed"
    reason = get(response, "incomplete_details", "reason") or status
    calls = any(place[0] == "call" for place in seen.parts)
    if finish_reason(reason) == "stop" and calls:
        reason = "tool_calls"
    return Delta(
        found.text,
        found.reasoning,
        found.tool_calls,
        finish_reason(reason),
        usage_of(get(response, "usage")),
        refusal=found.refusal,
    )


def _joined(one: Delta, two: Delta) -> Delta:
    return Delta(
        one.text + two.text,
        one.reasoning + two.reasoning,
        (*one.tool_calls, *two.tool_calls),
        refusal=one.refusal + two.refusal,
    )
