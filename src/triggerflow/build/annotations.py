"""The types that a declared type mentions: in its arguments, and in the fields of its classes.

With `from __future__ import annotations`, annotations are text. A name in it is looked up in the module of the class,
then where the program declares the type: a class inside a function is known only there. What is found only there is
written into the class, because the libraries that check values look it up again. A name that is known nowhere is an
error at the declaration, and not at the first value.
"""

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, ForwardRef, Literal, cast, get_args, get_origin, get_type_hints

import msgspec

from .._core.errors import DefinitionError
from .arguments import user_frame


def user_names() -> dict[str, Any]:
    """The names that are known where the user calls the engine: of the module, and of the function inside it."""
    frame = user_frame()
    return {**frame.f_globals, **frame.f_locals}


def resolve(expected: Any, what: str, names: Mapping[str, Any]) -> Any:
    """The type with all names looked up, in it and in the classes that it mentions.

    Raises `DefinitionError` that names the class and the name, if a name is known neither in its module nor in `names`.
    """
    if _is_text(expected):
        holder = type("declared", (), {"__annotations__": {"it": expected}})
        try:
            expected = get_type_hints(holder, localns=dict(names), include_extras=True)["it"]
        except Exception as error:  # annotations are code
            raise unknown_name(what, repr(expected), error) from error
    for _ in _classes(expected, names, what):  # going through the classes resolves their annotations
        pass
    return expected


def hints_of(cls: type[Any], what: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The types of the annotations of a class, with metadata. Raises `DefinitionError` as `resolve` does."""
    try:
        return _hints(cls, names)
    except Exception as error:  # annotations are code
        raise unknown_name(what, cls.__qualname__, error) from error


def mentioned(expected: Any) -> Iterator[type[Any]]:
    """The dataclasses, structs, named tuples, Pydantic models and enums that a type mentions, each once."""
    for cls in _classes(expected, {}, None):
        if not hasattr(cls, "__required_keys__"):  # a TypedDict is a dict
            yield cls


def _classes(expected: Any, names: Mapping[str, Any], what: str | None) -> Iterator[type[Any]]:
    """The classes with fields that a type mentions. With `what`, an unknown name is an error."""
    todo, seen = [expected], dict[int, Any]()  # held, so that no other object gets its id
    while todo:
        kind = todo.pop()
        if id(kind) in seen:
            continue
        seen[id(kind)] = kind
        if get_origin(kind) is Literal:
            todo += [type(it) for it in get_args(kind) if isinstance(it, Enum)]
            continue
        for more in (get_origin(kind), getattr(kind, "__value__", None), getattr(kind, "__supertype__", None)):
            if more is not None and not isinstance(kind, type):
                todo.append(more)
        todo += get_args(kind)
        if not isinstance(kind, type) or not _has_fields(kind):
            continue
        yield kind
        try:
            todo += _field_types(kind, names)
        except Exception as error:  # annotations are code
            if what is not None:
                raise unknown_name(what, kind.__qualname__, error) from error


def _has_fields(cls: Any) -> bool:
    if cls is msgspec.Struct or cls is Enum:
        return False
    return (
        dataclasses.is_dataclass(cls)
        or issubclass(cls, msgspec.Struct | Enum)
        or (issubclass(cls, tuple) and hasattr(cast("Any", cls), "_fields"))
        or hasattr(cast("Any", cls), "__required_keys__")
        or (hasattr(cast("Any", cls), "__pydantic_fields__") and "__pydantic_complete__" in cls.__dict__)
    )


def _field_types(cls: type[Any], names: Mapping[str, Any]) -> list[Any]:
    if issubclass(cls, Enum):
        return []
    if hasattr(cls, "__pydantic_complete__") and not dataclasses.is_dataclass(cls):
        model = cast("Any", cls)
        if not model.__pydantic_complete__ and cls.__module__ != "pydantic.main":
            model.model_rebuild(_types_namespace={**sys.modules[cls.__module__].__dict__, **names})
        return [field.annotation for field in model.__pydantic_fields__.values()]
    return list(_hints(cls, names).values())


def _hints(cls: type[Any], names: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except (NameError, AttributeError):
        if not names:
            raise
    hints = get_type_hints(cls, localns=dict(names), include_extras=True)
    seen = set[str]()
    for base in cls.__mro__:
        # The dict itself, to write into it.
        own: dict[str, Any] = base.__dict__.get("__annotations__", {})  # noqa: RUF063
        for name, it in own.items():
            if name not in seen and isinstance(it, str):
                own[name] = hints[name]
        seen.update(own)
    return hints


def _is_text(expected: Any) -> bool:
    return isinstance(expected, str | ForwardRef) or (
        get_origin(expected) is not Literal and any(_is_text(it) for it in get_args(expected))
    )


def unknown_name(what: str, where: str, error: Exception) -> DefinitionError:
    """The error for a name in the annotations of `where` that is defined nowhere; `what` is the declaration."""
    name = getattr(error, "name", None)
    if not name:
        return DefinitionError(f"{what}: the annotations of {where} cannot be read: {error}")
    return DefinitionError(
        f"{what}: {where} mentions {name!r}, which is defined neither in its module nor where the type is declared; "
        "define or import it there (an import under TYPE_CHECKING does not count), before this call"
    )
