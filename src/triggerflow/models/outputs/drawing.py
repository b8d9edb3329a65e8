"""The structure of an answer as text for a prompt: JSON with types for values, and notes as comments."""

import json
from typing import Any, cast

from .optional import may_be_null
from .schemas import Definitions, Schema, choices, name_of, resolve, values_of, walk

_NAMES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "null"}
_BUDGET = 8_000
"""In characters. A drawing that is longer draws no definition twice: it names it instead."""


def draw(schema: Schema, definitions: Definitions) -> str:
    """Draw the structure of a value of this schema."""
    return _Drawing(definitions).root(schema)


class _Drawing:
    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._size = 0
        self._drawn: set[str] = set()
        self._named: set[str] = set()
        """The definitions that the drawing names somewhere; where they are drawn, their name is put beside."""

    def root(self, schema: Schema) -> str:
        self._named = _recursive(self._definitions)
        said = _line(resolve(schema, self._definitions).get("description", ""))
        return (f"// {said}\n" if said else "") + self._value(schema, "", (), said)

    def _value(self, schema: Schema, indent: str, inside: tuple[str, ...], said: str) -> str:
        """Draw a value. `said` is what is written beside it already, `inside` the definitions around it."""
        name = name_of(schema)
        if name and (name in inside or (name in self._drawn and self._size > _BUDGET)):
            return f"<another {self._title(name)}>"
        inside = (*inside, name) if name else inside
        part = resolve(schema, self._definitions)
        members = choices(part)
        if members:
            return " or ".join(self._value(member, indent, inside, "") for member in members)
        if name:
            self._drawn.add(name)
        if isinstance(part.get("type"), list):
            drawn = [self._value({**part, "type": kind}, indent, inside, said) for kind in part["type"]]
            return " or ".join(dict.fromkeys(drawn))
        if values_of(part):
            text = _constants(part)
        elif part.get("type") == "object":
            text = self._object(part, indent, inside, self._heading(name, part, said))
        elif part.get("type") == "array":
            text = self._array(part, indent, inside)
        else:
            text = _scalar(part)
        self._size += len(text)
        return text

    def _heading(self, name: str, part: Schema, said: str) -> str:
        notes = [f"a {self._title(name)}"] if name in self._named else []
        text = part.get("description")
        if text and _line(text) not in said:
            notes.append(_line(text))
        return f"  // {': '.join(notes)}" if notes else ""

    def _object(self, part: Schema, indent: str, inside: tuple[str, ...], heading: str) -> str:
        deeper = indent + "  "
        required = part.get("required", ())
        lines: list[str] = []
        for key, inner in part.get("properties", {}).items():
            note = self._note(inner, key in required)
            lines.append(f"{deeper}{_json(key)}: {self._value(inner, deeper, inside, note)},{note}")
        for pattern, inner in self._free_keys(part):
            key = f"<any key that matches {pattern}>" if pattern else "<any key>"
            lines += [f'{deeper}"{key}": {self._value(inner, deeper, inside, "")},', f"{deeper}..."]
        if not lines:
            return "<an empty object>" if part.get("additionalProperties") is False else "<any JSON object>"
        limits = _limits(part, "key", "minProperties", "maxProperties")
        return "{" + (heading or "") + (f"  // {limits}" if limits else "") + "\n" + "\n".join(lines) + f"\n{indent}}}"

    def _free_keys(self, part: Schema) -> list[tuple[str, Schema]]:
        """What stands at keys without a name: patterns of keys, "" for any, with the schema there."""
        found = list(part.get("patternProperties", {}).items())
        more = part.get("additionalProperties")
        if isinstance(more, dict) or (more is True and part.get("properties")):
            key = part.get("propertyNames", {}).get("pattern", "")
            found.append((key, more if isinstance(more, dict) else {}))
        return found

    def _array(self, part: Schema, indent: str, inside: tuple[str, ...]) -> str:
        deeper = indent + "  "
        fixed, items = part.get("prefixItems", []), part.get("items")
        lines = [f"{deeper}{self._value(one, deeper, inside, self._note(one))},{self._note(one)}" for one in fixed]
        notes = [_limits(part, "item", "minItems", "maxItems")] if not fixed else []
        if part.get("uniqueItems"):
            notes.append("no item twice")
        if items is not False and not (items is None and fixed):
            inner = cast("Schema", items) if isinstance(items, dict) else {}
            lines += [
                f"{deeper}{self._value(inner, deeper, inside, self._note(inner))},{self._note(inner)}",
                f"{deeper}...",
            ]
        if not lines:
            return "[]"
        note = ", ".join(filter(None, notes))
        return "[" + (f"  // {note}" if note else "") + "\n" + "\n".join(lines) + f"\n{indent}]"

    def _note(self, schema: Schema, required: bool = True) -> str:
        part = resolve(schema, self._definitions)
        notes = [_line(part["description"])] if part.get("description") else []
        if not required:
            default = part.get("default")
            then = "" if default is None else f": then it is {_json(default)}"
            notes.append(
                ("may be left out" if may_be_null(part, self._definitions) else "may be null or left out") + then
            )
        return f"  // {'; '.join(notes)}" if notes else ""

    def _title(self, name: str) -> str:
        return str(self._definitions.get(name, {}).get("title") or name)


def _scalar(part: Schema) -> str:
    kind = str(part.get("type") or "any JSON value")
    text = _NAMES.get(kind, kind)
    notes: list[str] = []
    if "format" in part:
        notes.append(f"format {part['format']}")
    if part.get("contentEncoding"):
        notes.append(f"in {part['contentEncoding']}")
    low, high = part.get("minimum"), part.get("maximum")
    over, under = part.get("exclusiveMinimum"), part.get("exclusiveMaximum")
    left = f"{low} <= " if low is not None else f"{over} < " if over is not None else ""
    right = f" <= {high}" if high is not None else f" < {under}" if under is not None else ""
    if left or right:
        notes.append(f"{left}n{right}")
    if "multipleOf" in part:
        notes.append(f"a multiple of {part['multipleOf']}")
    notes.append(_limits(part, "character", "minLength", "maxLength"))
    if "pattern" in part:
        notes.append(f"matching {part['pattern']}")
    return f"<{', '.join([text, *filter(None, notes)])}>"


def _constants(part: Schema) -> str:
    values = values_of(part)
    if len(values) == 1:
        return _json(values[0])
    return "<one of " + ", ".join(_json(value) for value in values) + ">"


def _limits(part: Schema, what: str, least: str, most: str) -> str:
    low, high = part.get(least), part.get(most)
    if low is None and high is None:
        return ""
    if low == high:
        return f"exactly {low} {what}{'' if low == 1 else 's'}"
    said = [f"at least {low}"] if low else []
    said += [f"at most {high}"] if high is not None else []
    number = high if high is not None else low
    return f"{' and '.join(said)} {what}{'' if number == 1 else 's'}" if said else ""


def _recursive(definitions: Definitions) -> set[str]:
    """The definitions that contain themselves."""
    direct = {name: {name_of(inner) for inner in walk(part)} - {""} for name, part in definitions.items()}

    def reachable(name: str) -> set[str]:
        found, stack = set[str](), [name]
        while stack:
            new = direct.get(stack.pop(), set()) - found
            found |= new
            stack += new
        return found

    return {name for name in definitions if name in reachable(name)}


def _line(text: Any) -> str:
    return " ".join(str(text).split())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
