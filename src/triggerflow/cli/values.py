"""Values, labels, times and spans as a person types them: from text to data."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from ..terminal.answers import resolved
from .troubles import NOT_FOUND, USAGE, Trouble

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)?")
_UNITS = {"ms": 0.001, "s": 1, "": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}
#: How many characters on each side of a mistake are shown.
AROUND = 60


def value_of(text: str, schema: dict[str, Any], what: str) -> Any:
    """A typed value: JSON, or a bare text where the schema takes texts. Raises `Trouble`, which shows the mistake.

    `what` names the value in the message.
    """
    kinds = kinds_of(schema, schema)
    if kinds == {"string"}:
        return _text(text)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        looks_like_json = text.lstrip()[:1] in ("{", "[", '"')
        if "string" in kinds and not looks_like_json:
            return text
        raise Trouble(USAGE, _broken(text, error, what, kinds, looks_like_json)) from None
    except RecursionError:
        raise Trouble(USAGE, f"{what} is nested too deeply") from None


def _text(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, str) else text


def kinds_of(schema: dict[str, Any], whole: dict[str, Any], seen: set[int] | None = None) -> set[str]:
    """The JSON types that a schema takes; all of them if it does not say. `whole`: the schema that references are in.
    `seen`: the ids of schemas around this one, so that one that contains itself ends."""
    every = {"string", "number", "integer", "boolean", "object", "array", "null"}
    schema = resolved(schema, whole)
    if "$ref" in schema:
        return every
    seen = set() if seen is None else seen
    if id(schema) in seen:
        return set()
    seen.add(id(schema))
    given = schema.get("type")
    if isinstance(given, str):
        return {given}
    if isinstance(given, list):
        return {str(it) for it in cast("list[Any]", given)}
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            options = cast("list[Any]", schema[word])
            return {kind for it in options if isinstance(it, dict) for kind in kinds_of(cast("Any", it), whole, seen)}
    names: dict[type[Any], str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    listed: Any = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(listed, list):
        return {names.get(cast("type[Any]", type(it)), "object") for it in cast("list[Any]", listed)}
    return every


def described(schema: dict[str, Any]) -> str:
    """The values that a schema takes, in a few words."""
    if isinstance(schema.get("enum"), list):
        return " | ".join(json.dumps(it) for it in cast("list[Any]", schema["enum"]))
    kinds = kinds_of(schema, schema)
    title = schema.get("title")
    if len(kinds) > 3:
        return str(title) if title else "any JSON"
    text = " or ".join(sorted(kinds))
    properties = schema.get("properties")
    if kinds == {"object"} and isinstance(properties, dict) and properties:
        names = cast("dict[str, Any]", properties)
        text += " {" + ", ".join(list(names)[:6]) + (" ..." if len(names) > 6 else "") + "}"
    return text


def _broken(text: str, error: json.JSONDecodeError, what: str, kinds: set[str], looks_like_json: bool) -> str:
    if not looks_like_json and len(kinds) < 7:
        wanted = " or ".join(sorted(kinds))
        example = {"boolean": "true or false", "null": "null", "integer": "7", "number": "0.5", "array": "'[1, 2]'"}
        hint = next((example[it] for it in sorted(kinds) if it in example), """'{"key": "value"}'""")
        return f"{what} {text[:AROUND]!r} is no JSON, and has to be {_article(wanted)} {wanted}: for example {hint}"
    line = text.split("\n")[error.lineno - 1] if text else ""
    begin = max(0, error.colno - AROUND)
    shown = line[begin : begin + 2 * AROUND].replace("\t", " ")
    place = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
    caret = " " * (error.colno - 1 - begin) + "^"
    hint = "" if looks_like_json else '; a text with such characters is written "in quotes"'
    return f"{what} is no valid JSON: {error.msg} at {place}{hint}\n  {shown}\n  {caret}"


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"


def read_file(name: str) -> str:
    """The text of a file, or of standard input for "-". Raises `Trouble`."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Trouble(NOT_FOUND, f"there is no file {name!r}{near_file(name)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(USAGE, f"file {name!r} cannot be read as UTF-8 text: {error}") from None


def near_file(name: str) -> str:
    """ "; did you mean 'runs.db'?" if a file with a similar name is in the same folder."""
    from difflib import get_close_matches

    path = Path(name)
    try:
        there = [it.name for it in path.parent.iterdir() if it.is_file()]
    except OSError:
        return f"; there is no folder {str(path.parent)!r} either"
    near = get_close_matches(path.name, there, 1)
    return f"; did you mean {str(path.with_name(near[0]))!r}?" if near else ""


def pairs_of(texts: Sequence[str], option: str) -> dict[str, str]:
    """`name=value` texts as a dict. Raises `Trouble` for one without a name or "="."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Trouble(
                USAGE, f"{option} takes name=value, not {text!r}; for example {option} {text or 'team'}=value"
            )
        found[name] = value
    return found


def seconds_of(text: str, option: str) -> float:
    """A span such as "90", "90s", "5min", "2h", "7d", in seconds."""
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise Trouble(USAGE, f"{option} takes a span such as 90s, 5min, 2h or 7d, not {text!r}")
    return float(found[1]) * _UNITS[found[2] or ""]


def moment_of(text: str, option: str, now: float) -> float:
    """A moment: a span before now such as "2h", or a date or time such as 2026-11-30T14:00, in local time."""
    if _SPAN.fullmatch(text.strip()):
        return now - seconds_of(text, option)
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise Trouble(
            USAGE, f"{option} takes an age such as 30min, 2h or 7d, or a time such as 2026-11-30T14:00, not {text!r}"
        ) from None
