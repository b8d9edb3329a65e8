"""`Output`: the description of an answer, as text for the prompt, as JSON schema, and as a check of the answer.

A description is a type, or the notation: `(type, "what it is")` for a value, a dict of descriptions for an object, a
list with one description for a list. Types are what Pydantic and msgspec know: classes, unions, generics, literals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, cast

from ..errors import OutputError, ResponseUsageError
from ..paths import PathStyle, Step, render
from .drawing import draw
from .inner_types import inner_types
from .optional import drop_nulls, has_null, may_lack_keys
from .places import steps_of
from .schemas import Definitions, Schema, closed, items_of, kinds, resolve, variants
from .strict import to_strict
from .typed import Convert, read_type


class Part:
    """The description of one place in an answer, made by `Output.part`."""

    def __init__(self, schema: Schema, definitions: Definitions, converts: Sequence[Convert], where: str) -> None:
        self._root = schema
        self._definitions = definitions
        self._converts = converts
        self._where = where
        self._lacks = may_lack_keys(schema, definitions)

    @property
    def schema(self) -> Schema:
        """The JSON schema of the values there."""
        # Some servers need the schema of the root itself, not a reference to it.
        schema = closed(resolve(self._root, self._definitions))
        if self._definitions:
            schema["$defs"] = {name: closed(part) for name, part in self._definitions.items()}
        return schema

    def convert(self, data: Any, where: str | None = None) -> Any:
        """Convert parsed JSON to the type described there. Notation stays plain data, and so does a value that fits
        several types because the members of a union have different ones there. Validators of the class around the
        value run when the answer is complete.

        `where` names the place in errors, for instance the path of an event; by default the path of this part.
        Raises `ValueError` for data that does not fit, and for any exception of a validator. An optional key may be
        null: then it counts as left out.
        """
        if self._lacks and has_null(data):
            data = drop_nulls(data, self._root, self._definitions)
        made: list[Any] = []
        reasons: list[str] = []
        cause: Exception | None = None
        for convert in self._converts:
            try:
                try:
                    made.append(convert(data, ""))  # without places, which are needed in errors only
                except ValueError:
                    made.append(convert(data, self._where if where is None else where))
            except ValueError as error:
                reasons.append(str(error))
            except Exception as error:  # of a validator, for instance a KeyError for a value that it does not know
                reasons.append(f"{(self._where if where is None else where) or 'output'}: its check raised {error!r}")
                cause = error
        if not made:
            raise ValueError("; or ".join(dict.fromkeys(reasons))) from cause
        sure = all(type(other) is type(made[0]) and other == made[0] for other in made)
        return made[0] if sure else data


class Output:
    """The description of an answer. Raises `OutputError` for a value that is not a description."""

    def __init__(self, description: Any) -> None:
        self._definitions: Definitions = {}
        self._node = self._read(description, "output")
        self.typed = not isinstance(description, dict | list | tuple)
        """Whether the answer is converted to an object of the described type; if not, it stays plain data."""
        self._all = Part(self._node.schema, self._definitions, [self._node.convert], "output")
        self._parts: dict[tuple[object, ...], Part] = {}
        scalars = self._kinds - {"object", "array"}
        if scalars:
            raise OutputError(
                f"output: an answer is an object or a list, and cannot be {' or '.join(sorted(scalars))}; describe a"
                " dict with one key instead"
            )

    @property
    def schema(self) -> Schema:
        """The JSON schema to send, together with `strict`.

        If `strict`, it is in the dialect that OpenAI's structured outputs accept: the root is an object, every key is
        required, and an optional one may be null. If not, it is `object_schema`.
        """
        return self._strict[0] if self.strict else self.object_schema

    @property
    def full_schema(self) -> Schema:
        """The JSON schema of the answer itself, for servers that take any. Objects may have only the described keys."""
        return self._all.schema

    @property
    def object_schema(self) -> Schema:
        """`full_schema` for servers that take objects only: a list, or a union, is put into an object with one key.

        The parser finds the answer in there: paths and data are those of the answer itself.
        """
        schema = self.full_schema
        if self.wrapper is None:
            return schema
        definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
        key = self.wrapper
        wrapped: Schema = {"type": "object", "properties": {key: schema}, "required": [key]}
        return {**wrapped, "additionalProperties": False, **definitions}

    @property
    def strict(self) -> bool:
        """Whether a server that takes the strict dialect only can be given the schema; if not, see `not_strict`."""
        return not self.not_strict

    @property
    def not_strict(self) -> tuple[str, ...]:
        """The places that the strict dialect cannot express, each with the reason; empty if it can express all."""
        return tuple(self._strict[1])

    @cached_property
    def _strict(self) -> tuple[Schema, list[str]]:
        if self.wrapper is None and self.root != "object":
            return {}, ["output may be an object or a list"]
        return to_strict(self._node.schema, self._definitions, self.wrapper)

    @cached_property
    def wrapper(self) -> str | None:
        """The key of the object around an answer that is not a single object; None if there is none around it.

        There can be none if the parser could not tell that object from the answer.
        """
        one_object = len(list(variants(self._node.schema, self._definitions))) == 1 and self.root == "object"
        if one_object or not (self.root == "array" or (self.root == "object" and self.keys)):
            return None
        name = "answer"
        while name in self.keys:
            name += "_"
        return name

    @property
    def root(self) -> Literal["object", "array"] | None:
        """ "object" or "array"; None if the answer may be either."""
        if len(self._kinds) != 1:
            return None
        return "object" if "object" in self._kinds else "array"

    @cached_property
    def _kinds(self) -> set[str]:
        """The JSON types that the answer may have; empty if it may have any."""
        found = [kinds(part) for part in variants(self._node.schema, self._definitions)]
        return set[str]().union(*found) if all(found) else set()

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys of the answer, if it is an object, or of the objects in it, if it is a list.

        Empty if they are not known: if the answer, or a member of a union, may have any keys.
        """
        found: set[str] = set()
        for part in variants(self._node.schema, self._definitions):
            if part.get("type") == "array":
                inner = [one for item in items_of(part) for one in variants(item, self._definitions)]
                found.update(*(one.get("properties", ()) for one in inner))
            elif not part.get("properties"):
                return frozenset()
            else:
                found.update(part["properties"])
        return frozenset(found)

    @property
    def prompt(self) -> str:
        """The structure of the answer for a prompt: JSON with types for values and descriptions as comments."""
        return draw(self._node.schema, self._definitions)

    def convert(self, data: Any) -> Any:
        """Convert parsed JSON to the described type. Raises `ValueError`, which names the place, if it does not fit.

        An optional key whose value cannot be null, and is null, counts as left out.
        """
        return self._all.convert(data)

    def part(self, path: str | Sequence[str | int], style: PathStyle = "dot") -> Part:
        """The description of one place of the answer: of `steps[*]` for one step, of `steps[*].tags[*]` for one tag.

        `path` is a path of events, with or without wildcards, or an event's `keys`, which are exact where a key
        contains a dot. Raises `ResponseUsageError` for a path that no answer has.
        """
        asked = (path, style) if isinstance(path, str) else ("", *path)
        part = self._parts.get(asked)
        if part is None:
            steps = steps_of(path, self.full_schema, style) if isinstance(path, str) else tuple(path)
            part = self._parts[asked] = self._find(steps, path if isinstance(path, str) else render(steps, "dot"))
        return part

    def _find(self, steps: tuple[Step, ...], path: str) -> Part:
        where = path or "output"
        node: _Node | None = self._node
        rest = list(steps)
        while rest and node is not None and not node.typed:
            step = rest.pop(0)
            node = node.keys.get(step) if isinstance(step, str) else node.item
        if node is not None and not rest:
            return Part(node.schema, self._definitions, [node.convert], where)
        types = [] if node is None else [node.kind]
        for step in rest:
            types = [found for kind in types for found in inner_types(kind, step)]
        types = [kind for index, kind in enumerate(types) if kind not in types[:index]]
        if not types:
            raise ResponseUsageError(f"the answer that `output` describes never has the path {path!r}")
        definitions: Definitions = {}
        if Any in types:
            types = [Any]
        read = [read_type(kind, where, definitions) for kind in types]
        schemas = [schema for schema, _ in read]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return Part(schema, definitions, [convert for _, convert in read], where)

    # -- reading a description ---------------------------------------------------------------------------------------

    def _read(self, description: Any, where: str) -> "_Node":
        if isinstance(description, tuple):
            return self._read_value(cast("tuple[Any, ...]", description), where)
        if isinstance(description, Mapping):
            return self._read_object(cast("Mapping[Any, Any]", description), where)
        if isinstance(description, list):
            return self._read_list(cast("list[Any]", description), where)
        schema, convert = read_type(description, where, self._definitions)
        return _Node(schema, convert, kind=description, typed=True)

    def _read_value(self, parts: tuple[Any, ...], where: str) -> "_Node":
        if len(parts) not in (1, 2) or not isinstance(parts[-1], str if len(parts) == 2 else object):
            raise OutputError(f'{where}: write (type, "what it is"), not {parts!r}')
        node = self._read(next(iter(parts)), where)
        return replace(node, schema={**node.schema, "description": parts[-1]}) if len(parts) == 2 else node

    def _read_object(self, parts: Mapping[Any, Any], where: str) -> "_Node":
        if not parts or not all(isinstance(key, str) for key in parts):
            raise OutputError(
                f"{where}: an object is described by a dict of its keys, which are strings, not {parts!r}"
            )
        inner = {key: self._read(part, f"{where}.{key}") for key, part in parts.items()}

        def convert(data: Any, at: str) -> Any:
            if not isinstance(data, dict):
                raise ValueError(f"{at}: expected an object, got {_kind(data)}")
            found = cast("dict[str, Any]", data)
            missing = [key for key in inner if key not in found]
            if missing:
                raise ValueError(f"{at}: the keys {missing} are missing")
            return {**found, **{key: inner[key].convert(found[key], f"{at}.{key}" if at else "") for key in inner}}

        schema: Schema = {"type": "object", "properties": {key: part.schema for key, part in inner.items()}}
        return _Node({**schema, "required": list(inner)}, convert, keys=inner)

    def _read_list(self, parts: list[Any], where: str) -> "_Node":
        if len(parts) != 1:
            raise OutputError(f"{where}: a list is described by a list with one item, not {len(parts)}")
        inner = self._read(parts[0], f"{where}[*]")

        def convert(data: Any, at: str) -> Any:
            if not isinstance(data, list):
                raise ValueError(f"{at}: expected an array, got {_kind(data)}")
            items = cast("list[Any]", data)
            return [inner.convert(item, f"{at}[{index}]" if at else "") for index, item in enumerate(items)]

        return _Node({"type": "array", "items": inner.schema}, convert, item=inner)


@dataclass(frozen=True, slots=True)
class _Node:
    """One part of a description: an object or a list in notation, or a type."""

    schema: Schema
    convert: Convert
    keys: Mapping[str, "_Node"] = field(default_factory=dict[str, "_Node"])
    item: "_Node | None" = None
    kind: Any = None
    typed: bool = False


def _kind(data: Any) -> str:
    if isinstance(data, dict | list):
        return "an object" if isinstance(data, dict) else "an array"
    return f"the value {data!r:.40}"
