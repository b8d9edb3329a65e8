"""Reading the fields of chunks. Objects of an SDK and dicts are treated alike."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from ..errors import ChunkError


def get(chunk: Any, *names: str) -> Any:
    """The value under a path of names, in objects or mappings; None if a name is missing."""
    for name in names:
        if type(chunk) is dict or isinstance(chunk, Mapping):  # the check for a dict is much faster
            chunk = cast("Mapping[str, Any]", chunk).get(name)
        else:
            chunk = getattr(chunk, name, None)
    return chunk


def fields_of(chunk: Any) -> Any:
    """The fields of an object of Pydantic, of which both SDKs make their chunks, as a dict; else the object itself.

    There, a missing attribute costs more than the rest of a chunk, and most fields of the dialects are missing.
    """
    extra: Any = getattr(chunk, "__pydantic_extra__", _MISSING)
    if extra is _MISSING:
        return chunk
    fields: dict[str, Any] = chunk.__dict__
    return {**fields, **extra} if extra else fields


_MISSING = object()


def kind_of(chunk: Any) -> str:
    """The `type` of a chunk or a part of one; empty if there is none."""
    kind = get(chunk, "type")
    return kind if isinstance(kind, str) else ""


def either(chunk: Any, *names: str) -> Any:
    """The first field of these names that is neither missing nor None: APIs write `finishReason`, their SDKs
    `finish_reason`."""
    return next((found for name in names if (found := get(chunk, name)) is not None), None)


def items(value: Any) -> Iterator[Any]:
    """The entries of a list field that may be null or missing, without those that are null. Some servers write one
    entry without its list."""
    if isinstance(value, list | tuple):
        yield from (item for item in cast("list[Any]", value) if item is not None)
    elif value and isinstance(value, Mapping):
        yield value
    elif value and not isinstance(value, str | bytes | Mapping) and hasattr(value, "__iter__"):
        yield from (item for item in value if item is not None)  # the repeated fields of protobuf


def text_of(value: Any) -> str:
    """The text of a field that holds text. Raises `ChunkError` for another type, unless it is null or empty."""
    if isinstance(value, str):
        return value
    if not value:  # null, or the mark that an SDK sets for "was not sent"
        return ""
    raise ChunkError(f"the text of a delta must be a str, not {type(value).__name__}: {value!r:.80}")


def number_of(value: Any, default: int) -> int:
    """An index, which some servers write as text or as a float; `default` if there is none."""
    if type(value) is int:  # nearly always
        return value
    if isinstance(value, str):
        return int(value) if value.isdecimal() else default
    if isinstance(value, float):
        return int(value) if value.is_integer() else default
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def json_of(value: Any) -> str:
    """JSON text for the arguments of a tool call, which some providers send as text and some as an object."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """The data in an object of an SDK that `json` does not know."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if hasattr(value, "__dict__"):
        return cast("dict[str, Any]", vars(value))
    if hasattr(value, "__iter__"):
        return list(value)
    return str(value)


def parts_of(content: Any) -> tuple[str, str, str]:
    """The text, reasoning and refusal in a content that is a text or a list of typed parts.

    Parts of other types (images, references, calls of tools) hold no text of the answer.
    """
    if isinstance(content, str) or not content:
        return content or "", "", ""
    if isinstance(content, Mapping) or not isinstance(content, list | tuple):
        return text_of(content), "", ""
    text = reasoning = refusal = ""
    for part in items(cast("list[Any]", content)):
        if isinstance(part, str):
            text += part
            continue
        kind = kind_of(part) or "text"
        if "thinking" in kind or "reasoning" in kind:
            reasoning += thought_of(part)
        elif "refusal" in kind:
            refusal += text_of(get(part, "refusal"))
        elif "text" in kind:
            said = get(part, "text")
            text += text_of(said if isinstance(said, str) or not said else get(said, "value"))
    return text, reasoning, refusal


def thought_of(value: Any) -> str:
    """The text of a field or part that holds reasoning, in any of its forms. Encrypted reasoning has no text."""
    if isinstance(value, str) or not value:
        return value or ""
    if isinstance(value, list | tuple):
        return "".join(map(thought_of, cast("list[Any]", value)))
    return thought_of(either(value, "text", "thinking", "reasoning", "content", "summary"))
