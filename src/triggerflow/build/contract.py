"""`Contract`: the declared types of a flow's start value, stream items and result, and how values are checked.

Any type can be declared. Pydantic validates and coerces types that contain its models, if the program has imported it.
msgspec does so for builtin types, dataclasses and structs; the fields of an instance are checked too, and unknown keys
do not fit (see `fitting`). For any other class the value must be an instance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast, get_args, is_typeddict

import msgspec

from .._core.errors import ContractError
from .fitting import fit, fit_instance

Check = Callable[[Any], Any]


#: Types whose instances have no parts.
_SIMPLE = frozenset[Any]({str, int, float, bool, bytes})


class Contract:
    """The declared types of one flow.

    `initial_input`, `stream` and `result` are the checks, None if no type is declared; `types` has the types
    by these names. `meta` is data of the user's own.
    """

    __slots__ = ("initial_input", "meta", "result", "stream", "types")

    def __init__(self) -> None:
        self.initial_input: Check | None = None
        self.stream: Check | None = None
        self.result: Check | None = None
        self.meta: Any = None
        self.types: dict[str, Any] = {}

    def copy(self) -> Contract:
        """A copy for one execution: later declarations do not change it."""
        made = Contract()
        made.initial_input, made.stream, made.result = self.initial_input, self.stream, self.result
        made.meta, made.types = self.meta, dict(self.types)
        return made

    def set(self, place: str, expected: Any) -> None:
        """Declare the type of `initial_input`, `stream` or `result`."""
        self.types[place] = expected
        setattr(self, place, checker(expected, place))


def checker(expected: Any, place: str, convert: Check | None = None) -> Check:
    """Make a function that returns a value, coerced to the type, or raises `ContractError` if the value does not fit.

    `convert` replaces the coercion; any exception that it raises means that the value does not fit.
    Raises `DefinitionError` for a type with an annotation that cannot be resolved.
    """
    if convert is None:
        try:
            convert = _converter(expected)
        except NameError as error:  # Pydantic's error is one too
            from .annotations import unknown_name  # rarely needed, and it takes a millisecond

            raise unknown_name(place, repr(expected), error) from None

    def check(value: Any) -> Any:
        try:
            return convert(value)
        except Exception as error:  # validators are user code and may raise anything
            said = _without_input(error)
            if said is None:
                raise ContractError(f"TriggerFlow contract validation failed for {place!r}: {error}") from error
            raise ContractError(f"TriggerFlow contract validation failed for {place!r}: {said}") from None

    return check


def _converter(expected: Any) -> Check:
    pydantic = _pydantic()
    if pydantic is not None and (_mentions(expected, pydantic.BaseModel) or _has_pydantic_metadata(expected)):
        return _validator(pydantic, expected)
    if expected is Any:
        return lambda value: value

    kind = cast("type[Any]", expected) if isinstance(expected, type) and not is_typeddict(expected) else None
    with suppress(TypeError, ValueError):  # msgspec does not know the class
        msgspec.json.Decoder(cast("Any", expected))  # now, and not at the first value, for names that are not there

    def convert(value: Any) -> Any:
        if kind is not None and isinstance(value, kind) and (type(value) is not bool or kind in (bool, object)):
            if kind not in _SIMPLE:
                fit_instance(value)
            return value
        try:
            return fit(value, expected)
        except TypeError:  # msgspec does not know the class
            raise TypeError(f"expected {expected!r}, got a {type(value).__qualname__}") from None

    return convert


def json_schema(expected: Any) -> dict[str, Any]:
    """The JSON Schema of the values that `checker` takes for a type, as they come from JSON.

    Without a type, and for a class that JSON cannot express, it takes everything; its title is the name of the class.
    """
    pydantic = _pydantic()
    try:
        if pydantic is not None and (_mentions(expected, pydantic.BaseModel) or _has_pydantic_metadata(expected)):
            return pydantic.TypeAdapter(expected).json_schema()
        return {} if expected is Any else _closed(msgspec.json.schema(expected, schema_hook=_unknown_class))
    except Exception:  # the libraries raise errors of several kinds for what they cannot express
        return _unknown_class(expected)


def _closed(schema: Any) -> Any:
    """The schema with objects that take no unknown keys, as `fit` does."""
    if isinstance(schema, list):
        return [_closed(it) for it in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(it) for key, it in cast("dict[str, Any]", schema).items()}
    if found.get("type") == "object" and isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found


def _unknown_class(expected: Any) -> dict[str, Any]:
    return {"title": getattr(expected, "__qualname__", repr(expected))}


def _pydantic() -> Any:
    """Pydantic, if the program has imported it."""
    return sys.modules.get("pydantic")


def _validator(pydantic: Any, expected: Any) -> Check:
    adapter = pydantic.TypeAdapter(expected)
    if not getattr(adapter, "pydantic_complete", True):
        adapter.rebuild()  # raises for a name that is not there
    return adapter.validate_python


def _without_input(error: Exception) -> str | None:
    """The text of an error of Pydantic, whose own text contains the value; None for any other error."""
    pydantic = _pydantic()
    if pydantic is None or not isinstance(error, pydantic.ValidationError):
        return None
    found: list[dict[str, Any]] = cast("Any", error).errors(
        include_url=False, include_context=False, include_input=False
    )
    places = ((".".join(map(str, it["loc"])), it["msg"]) for it in found)
    return "; ".join(f"{place}: {text}" if place else text for place, text in places)


def _has_pydantic_metadata(expected: Any) -> bool:
    """Whether an annotation has constraints or validators that only Pydantic knows: `Annotated[int, Field(gt=0)]`."""
    metadata = getattr(expected, "__metadata__", ())
    if any(type(it).__module__.partition(".")[0] in ("pydantic", "annotated_types") for it in metadata):
        return True
    return any(_has_pydantic_metadata(part) for part in get_args(expected))


def _mentions(expected: Any, base: type) -> bool:
    if isinstance(expected, type) and issubclass(expected, base):
        return True
    return any(_mentions(part, base) for part in get_args(expected))
