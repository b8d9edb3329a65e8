"""What a flow promises: types for the start value, the stream's items, the result, declared signals and answers.

Any type is accepted: where Pydantic is in use it validates (and coerces) what concerns its models, msgspec does so for
builtin types, dataclasses and structs, and for any other class an instance is asked for.
"""

import sys
from collections.abc import Callable
from typing import Any, cast, get_args

import msgspec

from .._core.errors import ContractError

Check = Callable[[Any], Any]


class Contract:
    """The checks of one flow; None where nothing is promised. `types` are the types they were made of, by place."""

    __slots__ = ("initial_input", "meta", "result", "stream", "types")

    def __init__(self) -> None:
        self.initial_input: Check | None = None
        self.stream: Check | None = None
        self.result: Check | None = None
        self.meta: Any = None
        self.types: dict[str, Any] = {}

    def copy(self) -> "Contract":
        """The contract as it is now: what is promised later does not reach executions that exist."""
        made = Contract()
        made.initial_input, made.stream, made.result = self.initial_input, self.stream, self.result
        made.meta, made.types = self.meta, dict(self.types)
        return made

    def set(self, place: str, expected: Any) -> None:
        """Promise a type for `initial_input`, `stream` or `result`."""
        self.types[place] = expected
        setattr(self, place, checker(expected, place))


def checker(expected: Any, place: str, convert: Check | None = None) -> Check:
    """A function that gives the value, coerced to the type where that is natural, or raises `ContractError`.

    With `convert` that coerces, and raises for what it refuses.
    """
    convert = convert or _converter(expected)

    def check(value: Any) -> Any:
        try:
            return convert(value)
        except Exception as error:  # validators may raise anything of their own
            text = f"TriggerFlow contract validation failed for {place!r}: {error}"
            raise ContractError(text) from error

    return check


def _converter(expected: Any) -> Check:
    pydantic = _pydantic()
    if pydantic is not None and _mentions(expected, pydantic.BaseModel):
        return _validator(pydantic, expected)
    if expected is Any:
        return lambda value: value

    kind = cast("type[Any]", expected) if isinstance(expected, type) else None

    def convert(value: Any) -> Any:
        if kind is not None and isinstance(value, kind):
            return value
        try:
            return msgspec.convert(value, cast("Any", expected))
        except TypeError:  # a class that msgspec does not know
            raise TypeError(f"expected {expected!r}, got {type(value).__qualname__}: {value!r}") from None

    return convert


def _pydantic() -> Any:
    """Pydantic, if the program uses it."""
    return sys.modules.get("pydantic")


def _validator(pydantic: Any, expected: Any) -> Check:
    return pydantic.TypeAdapter(expected).validate_python


def _mentions(expected: Any, base: type) -> bool:
    if isinstance(expected, type) and issubclass(expected, base):
        return True
    return any(_mentions(part, base) for part in get_args(expected))
