"""What `.output(...)` takes in Agently, as the description of an answer that the engine knows.

A type may be a text: `"str"`, `"list[int]"`, `"'a' | 'b'"`. A text that is no type says in words what to write there,
and any value fits it. The third element of a tuple is the value of a key that may be missing; a bool there says whether
the answer must have the key (4.1), and changes nothing: it must have every key without a value of its own.
"""

import ast
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import or_
from types import NoneType, SimpleNamespace
from typing import Any, Literal, Optional, Union, cast, get_args, get_origin

from triggerflow.models import Output

_PLAIN: tuple[type, ...] = (str, int, float, bool, list, dict)
_JSON = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": NoneType,
}
_OTHER = {"List": list, "Dict": dict, "Any": Any, "any": Any, "None": NoneType}
_TYPES: dict[str, Any] = {kind.__name__: kind for kind in _PLAIN} | _JSON | _OTHER
_GENERIC: dict[str, Any] = {
    "list": list,
    "List": list,
    "dict": dict,
    "Dict": dict,
    "Union": Union,
    "Optional": Optional,
}


class TextOutput(str):
    """A description in words of an answer that is text."""


class Notation(Output):
    """The description of an answer in Agently's notation. Raises `OutputError` for what is none."""

    def __init__(self, description: Any) -> None:
        if isinstance(description, type) and issubclass(description, int | float):  # with what Agently asks for then
            description = {"value": (description,), "reply": (str, "Reply according the result value")}
        elif isinstance(description, tuple) and not isinstance(description[0], dict | list | set):
            description = {"value": description}
        elif isinstance(description, set):
            description = [*cast("set[Any]", description)]
        super().__init__(description)

    def _read(self, description: Any, where: str) -> Any:
        match description:
            case tuple() if description and (more := [*map(str, filter(None, description[1:2]))]):
                node = self._read(description[0], where)
                more = [*filter(None, [node.schema.get("description", ""), *more])]
                return replace(node, schema={**node.schema, "description": "; ".join(more)})
            case tuple() if description:
                return self._read(description[0], where)
            case set() | list() if len(description) > 1:
                return self._read([self._any_of([*description])], where)
            case set() | list():
                return super()._read([*description] if description else list, where)
            case dict() if not description:
                return super()._read(dict, where)
            case None:
                return super()._read(Any, where)
            case str() | int() | float():
                kind = _typed(str(description))
                return super()._read((Any, str(description)) if kind is None else kind, where)
            case _:
                return super()._read(description, where)

    def _any_of(self, parts: list[Any]) -> tuple[Any, ...]:
        """An item of a list for which several descriptions are given."""
        pairs: list[tuple[Any, ...]] = [it if isinstance(it, tuple) and it else (it,) for it in parts]
        kinds = [_typed(it[0]) if isinstance(it[0], str) else it[0] for it in pairs]
        said = "; ".join(str(it[1]) for it in pairs if len(it) > 1 and it[1])
        return reduce(or_, kinds) if all(isinstance(it, type) for it in kinds) else Any, said

    def _read_object(self, parts: Mapping[Any, Any], where: str) -> Any:
        node = super()._read_object(parts, where)
        values = {key: it[2] for key, it in parts.items() if isinstance(it, tuple) and len(cast("Any", it)) > 2}
        values = {key: it for key, it in values.items() if not isinstance(it, bool)}
        if not values:
            return node
        must = [key for key in parts if key not in values]
        rest = super()._read_object({key: parts[key] for key in must}, where).convert if must else None

        def filled(data: Any, at: str) -> Any:
            if not isinstance(data, dict):
                return node.convert(data, at)  # which says what is wrong
            given = cast("dict[str, Any]", data)
            made = given if rest is None else rest(given, at)
            own = {key: node.keys[key].convert(given[key], f"{at}.{key}") for key in values if key in given}
            return {**values, **made, **own}

        return replace(node, schema={**node.schema, "required": must}, convert=filled)


def output_of(description: Any) -> Output | TextOutput | None:
    """The description of an answer; None for an answer that is text, and a `TextOutput` if a text describes that."""
    if description is None or description is str:
        return None
    return TextOutput(description) if isinstance(description, str) else Notation(description)


def attributes(data: Any) -> Any:
    """Data with attributes for its keys."""
    if isinstance(data, dict):
        return SimpleNamespace(**{str(key): attributes(it) for key, it in cast("dict[Any, Any]", data).items()})
    return [attributes(it) for it in cast("list[Any]", data)] if isinstance(data, list) else data


def _typed(text: str) -> Any:
    """The type that a text names, or None."""
    try:
        return _type(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _type(node: ast.expr) -> Any:
    """The type that an expression names. Raises one of the errors above for another expression."""
    match node:
        case ast.Name(name):
            return _TYPES[name]
        case ast.Constant(None):
            return NoneType
        case ast.Constant(str() as value):
            return Literal[value]
        case ast.BinOp(left, ast.BitOr(), right):
            sides = _type(left), _type(right)
            words = all(get_origin(it) is Literal for it in sides)
            return Literal[*get_args(sides[0]), *get_args(sides[1])] if words else or_(*sides)
        case ast.Subscript(ast.Name("Literal"), part):
            parts = part.elts if isinstance(part, ast.Tuple) else [part]
            return Literal[tuple(ast.literal_eval(it) for it in parts)]
        case ast.Subscript(ast.Name(name), ast.Tuple(parts)):
            return _GENERIC[name][tuple(map(_type, parts))]
        case ast.Subscript(ast.Name(name), part):
            return _GENERIC[name][_type(part)]
        case _:
            raise ValueError(node)
