"""Answers: the schema of a question decides which form a person gets, and what is checked before an answer is sent."""

import json
from typing import Any, Literal, NamedTuple, cast

from . import safe

Kind = Literal["yes or no", "choice", "text", "number", "json"]
#: A question with more choices is answered with JSON.
MOST = 20


class Form(NamedTuple):
    """The form for an answer. `choices`: the values to choose from."""

    kind: Kind
    choices: list[Any]


class NoAnswer(ValueError):
    """What was typed cannot be an answer; the text says why."""


def form(schema: dict[str, Any]) -> Form:
    """The form for a question with this schema."""
    plain = resolved(schema)
    enum = plain.get("enum")
    if "const" in plain:
        return Form("choice", [plain["const"]])
    if isinstance(enum, list) and 0 < len(cast("list[Any]", enum)) <= MOST:
        return Form("choice", cast("list[Any]", enum))
    kind = plain.get("type")
    if kind == "boolean":
        return Form("yes or no", [True, False])
    if kind == "string":
        return Form("text", [])
    if kind in ("integer", "number"):
        return Form("number", [])
    return Form("json", [])


def wanted(schema: dict[str, Any]) -> str:
    """The instruction for the person, in a few words."""
    made = form(schema)
    if made.kind == "choice":
        return "answer: " + " / ".join(safe.value(it, 40) for it in made.choices)
    about = {"yes or no": "answer yes or no", "text": "answer with a text", "number": "answer with a number"}
    names = resolved(schema).get("properties")
    if made.kind == "json" and isinstance(names, dict):
        return "answer with " + ", ".join(safe.value(it, 40) for it in list(names)[:6])  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return about.get(made.kind, "answer")


def read(schema: dict[str, Any], typed: str) -> Any:
    """The value of a typed text. Raises `NoAnswer` for a plain mistake; the owner of the execution checks the rest."""
    kind = form(schema).kind
    if kind == "text":
        return typed
    try:
        value = json.loads(typed)
    except ValueError as error:
        if kind == "number":
            raise NoAnswer("a number is wanted, such as 12 or 0.5") from error
        at = getattr(error, "colno", 0)
        what = getattr(error, "msg", "it cannot be read")
        raise NoAnswer(f"this is no JSON: {what} at column {at}; a text needs quotes") from error
    except RecursionError as error:
        raise NoAnswer("this is too deep") from error
    plain = resolved(schema)
    problem = _problem(plain, value)
    if problem:
        raise NoAnswer(problem)
    return value


def template(schema: dict[str, Any]) -> str:
    """The text that the input begins with: for an object its required keys with empty values."""
    plain = resolved(schema)
    known: dict[str, Any] = plain.get("properties") or {}
    if form(schema).kind != "json" or not known:
        return ""
    empty: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}
    made: dict[str, Any] = {}
    for name in cast("list[Any]", plain.get("required") or list(known)):
        inner: Any = known.get(name)
        made[str(name)] = empty.get(str(inner.get("type"))) if isinstance(inner, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return json.dumps(made, ensure_ascii=False)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def _problem(schema: dict[str, Any], value: Any) -> str:
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else kind if isinstance(kind, list) else []  # pyright: ignore[reportUnknownVariableType]
    known = [str(it) for it in kinds if it in _TYPES]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if known and not any(_is(value, it) for it in known):
        return f"{' or '.join(known)} is wanted"
    if isinstance(value, dict):
        required: Any = schema.get("required") or []
        missing = [str(it) for it in required if it not in value]
        if missing:
            return f"{', '.join(missing)} is missing"
        names: Any = schema.get("properties") or {}
        for name, inner in names.items():
            if name in value and isinstance(inner, dict):
                problem = _problem(inner, value[name])  # pyright: ignore[reportUnknownArgumentType]
                if problem:
                    return f"{name}: {problem}"
    return ""


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float) and kind == "integer":
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def resolved(schema: dict[str, Any], whole: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema that its `$ref` points to in `whole` (default: the schema itself); {} if that does not exist."""
    root = schema if whole is None else whole
    found: Any = schema
    for _ in range(8):
        reference = found.get("$ref") if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        found = root
        for part in reference[2:].split("/"):
            found = found.get(part, {}) if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
