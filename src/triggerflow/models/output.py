"""`Output`: the description of an answer, as text for the prompt, as JSON schema, and as a check of the answer.

A description is a Pydantic model, a msgspec struct, a dataclass, any other type that msgspec knows, or the notation:
`(type, "what it is")` for a value, a dict of descriptions for an object, a list with one description for a list.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import msgspec

from .errors import ModelError

Schema = dict[str, Any]

_NAMES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "null"}


class OutputError(ModelError, ValueError):
    """The value given as `output` does not describe an answer. The message names the place and what to write."""


class Output:
    """The description of an answer. Raises `OutputError` for a value that is not a description."""

    def __init__(self, description: Any) -> None:
        self.description = description
        self._definitions: dict[str, Schema] = {}
        schema, self._convert = self._read(description, "output")
        self.typed = not isinstance(description, dict | list | tuple)
        """Whether the answer is converted to an object of the described type; if not, it stays plain data."""
        # Some servers need the schema of the root itself, not a reference to it.
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        self._root = {**self._definitions.get(name, {}), **schema} if name else schema
        self._root.pop("$ref", None)
        if self._root.get("type") in _NAMES:
            raise OutputError("output: an answer is an object or a list; describe a dict with one key instead")

    @property
    def schema(self) -> Schema:
        """The JSON schema of the answer. Objects may have only the described keys."""
        schema = cast("Schema", _closed(self._root))
        if self._definitions:
            schema["$defs"] = {name: _closed(part) for name, part in self._definitions.items()}
        return schema

    @property
    def strict(self) -> bool:
        """Whether every key of every object is required; some servers need that before they constrain the answer."""
        return all(_all_required(part) for part in (self._root, *self._definitions.values()))

    @property
    def root(self) -> Literal["object", "array"] | None:
        """ "object" or "array"; None if the answer may be either."""
        kind = self._root.get("type")
        return kind if kind in ("object", "array") else None

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the answer, if it is an object, or of the objects in it, if it is a list."""
        part = self._resolve(self._root.get("items", {})) if self.root == "array" else self._root
        return frozenset(part.get("properties", ()))

    @property
    def prompt(self) -> str:
        """The structure of the answer for a prompt: JSON with types for values and descriptions as comments."""
        return self._draw(self._root, "", ())

    def convert(self, data: Any) -> Any:
        """Convert parsed JSON to the described type. Raises `ValueError`, which names the place, if it does not fit."""
        return self._convert(data)

    # -- reading a description ---------------------------------------------------------------------------------------

    def _read(self, description: Any, where: str) -> tuple[Schema, Callable[[Any], Any]]:
        if isinstance(description, tuple):
            return self._read_value(cast("tuple[Any, ...]", description), where)
        if isinstance(description, Mapping):
            return self._read_object(cast("Mapping[Any, Any]", description), where)
        if isinstance(description, list):
            return self._read_list(cast("list[Any]", description), where)
        return self._read_type(description, where)

    def _read_value(self, parts: tuple[Any, ...], where: str) -> tuple[Schema, Callable[[Any], Any]]:
        if len(parts) not in (1, 2) or not isinstance(parts[-1], str if len(parts) == 2 else object):
            raise OutputError(f'{where}: write (type, "what it is"), not {parts!r}')
        schema, convert = self._read(next(iter(parts)), where)
        return ({**schema, "description": parts[-1]} if len(parts) == 2 else schema), convert

    def _read_object(self, parts: Mapping[Any, Any], where: str) -> tuple[Schema, Callable[[Any], Any]]:
        if not parts or not all(isinstance(key, str) for key in parts):
            raise OutputError(
                f"{where}: an object is described by a dict of its keys, which are strings, not {parts!r}"
            )
        inner = {key: self._read(part, f"{where}.{key}") for key, part in parts.items()}

        def convert(data: Any) -> Any:
            if not isinstance(data, dict):
                raise ValueError(f"{where}: expected an object, got {_kind(data)}")
            found = cast("dict[str, Any]", data)
            missing = [key for key in inner if key not in found]
            if missing:
                raise ValueError(f"{where}: the keys {missing} are missing")
            return {**found, **{key: inner[key][1](found[key]) for key in inner}}

        schema: Schema = {"type": "object", "properties": {key: part[0] for key, part in inner.items()}}
        return {**schema, "required": list(inner)}, convert

    def _read_list(self, parts: list[Any], where: str) -> tuple[Schema, Callable[[Any], Any]]:
        if len(parts) != 1:
            raise OutputError(f"{where}: a list is described by a list with one item, not {len(parts)}")
        schema, inner = self._read(parts[0], f"{where}[*]")

        def convert(data: Any) -> Any:
            if not isinstance(data, list):
                raise ValueError(f"{where}: expected an array, got {_kind(data)}")
            return [inner(item) for item in cast("list[Any]", data)]

        return {"type": "array", "items": schema}, convert

    def _read_type(self, kind: Any, where: str) -> tuple[Schema, Callable[[Any], Any]]:
        if hasattr(kind, "model_json_schema"):  # a Pydantic model: recognised without importing Pydantic
            schema = cast("Schema", kind.model_json_schema())
            self._definitions.update(schema.pop("$defs", {}))
            return schema, kind.model_validate
        if not isinstance(kind, type) and not hasattr(kind, "__origin__") and not hasattr(kind, "__args__"):
            raise OutputError(f'{where}: {kind!r} is not a type; write a type, (type, "what it is"), a dict or a list')
        try:
            (schema,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
        except TypeError as error:
            raise OutputError(f"{where}: {kind!r} has no JSON form: {error}") from None
        self._definitions.update(definitions)

        def convert(data: Any) -> Any:
            try:
                return msgspec.convert(data, cast("type[Any]", kind))
            except msgspec.ValidationError as error:
                raise ValueError(f"{where}: {error}") from error

        return schema, convert

    # -- drawing -----------------------------------------------------------------------------------------------------

    def _resolve(self, schema: Schema) -> Schema:
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        return {**self._definitions.get(name, {}), **schema} if name else schema

    def _draw(self, schema: Schema, indent: str, inside: tuple[str, ...]) -> str:
        reference = schema.get("$ref")
        if reference in inside:
            return f"<another {str(reference).rpartition('/')[2]}>"  # a type that contains itself
        inside = (*inside, str(reference)) if reference else inside
        schema = self._resolve(schema)
        deeper = indent + "  "
        kind = schema.get("type")
        if kind == "object" and schema.get("properties"):
            lines: list[str] = []
            for key, part in schema["properties"].items():
                said = self._resolve(part).get("description")
                note = f"  // {said}" if said else ""
                lines.append(f'{deeper}"{key}": {self._draw(part, deeper, inside)},{note}')
            return "{\n" + "\n".join(lines) + f"\n{indent}}}"
        if kind == "array":
            return f"[\n{deeper}{self._draw(schema.get('items') or {}, deeper, inside)},\n{deeper}...\n{indent}]"
        if "enum" in schema:
            return "<one of " + ", ".join(msgspec.json.encode(value).decode() for value in schema["enum"]) + ">"
        if "anyOf" in schema:
            return " or ".join(self._draw(part, indent, inside) for part in schema["anyOf"])
        return f"<{_NAMES.get(str(kind), str(kind or 'any JSON value'))}>"


def _kind(data: Any) -> str:
    if isinstance(data, dict | list):
        return "an object" if isinstance(data, dict) else "an array"
    return f"the value {data!r:.40}"


def _closed(part: Any) -> Any:
    """A copy of the schema in which objects take only the described keys."""
    if isinstance(part, list):
        return [_closed(item) for item in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    schema = {key: _closed(value) for key, value in cast("Schema", part).items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    return schema


def _all_required(part: Any) -> bool:
    if isinstance(part, list):
        return all(_all_required(item) for item in cast("list[Any]", part))
    if not isinstance(part, dict):
        return True
    schema = cast("Schema", part)
    if schema.get("type") == "object" and set(schema.get("properties", ())) != set(schema.get("required", ())):
        return False
    if schema.get("type") == "object" and not schema.get("properties"):
        return False  # a dict with any keys
    return all(_all_required(value) for value in schema.values())
