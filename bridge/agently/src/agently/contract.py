"""Contracts: the types that a flow declares. Pydantic checks values, and describes types as JSON schemas."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypedDict,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from triggerflow.extension import UNSET, Contract, checker

from .state import copied

PLACES = ("initial_input", "stream", "result")


class TriggerFlowInterrupt(TypedDict):
    """An interrupt: a question that a chunk asks, and that code outside the execution answers."""

    id: str
    type: str
    status: Literal["waiting", "resumed"]
    payload: NotRequired[Any]
    resume_event: NotRequired[str | None]
    response: NotRequired[Any]


class TriggerFlowInterruptEvent(TypedDict):
    """The stream item that reports a new interrupt (`pause`), or the answer to one (`resume`)."""

    type: Literal["interrupt"]
    action: Literal["pause", "resume"]
    execution_id: str
    interrupt: TriggerFlowInterrupt
    signal: NotRequired[dict[str, Any] | None]
    value: NotRequired[Any]


def _object(name: str, *required: str, **properties: Any) -> dict[str, Any]:
    titled = {
        key: it if "$ref" in it else {**it, "title": key.replace("_", " ").title()} for key, it in properties.items()
    }
    return {"properties": titled, "required": [*required], "title": name, "type": "object"}


_TEXT = {"type": "string"}
#: The schema of the interrupt event as Pydantic writes it; by hand, for flows that promise nothing but `meta`.
_EVENT = {
    "$defs": {
        "TriggerFlowInterrupt": _object(
            "TriggerFlowInterrupt", "id", "type", "status",
            id=_TEXT, type=_TEXT, status={"enum": ["waiting", "resumed"], "type": "string"}, payload={},
            resume_event={"anyOf": [_TEXT, {"type": "null"}]}, response={},
        )
    },
    **_object(
        "TriggerFlowInterruptEvent", "type", "action", "execution_id", "interrupt",
        type={"const": "interrupt", "type": "string"}, action={"enum": ["pause", "resume"], "type": "string"},
        execution_id=_TEXT, interrupt={"$ref": "#/$defs/TriggerFlowInterrupt"},
        signal={"anyOf": [{"additionalProperties": True, "type": "object"}, {"type": "null"}]}, value={},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class TriggerFlowContractSpec:
    """The declared types of a flow's start value, stream items and result. None means that no type is declared."""

    initial_input: Any = None
    stream: Any = None
    result: Any = None
    meta: dict[str, Any] = field(default_factory=dict[str, Any])


def promise(contract: Contract, promised: dict[str, Any]) -> None:
    """Declare types in the engine's contract. None or UNSET removes a declaration."""
    for place, expected in promised.items():
        if place == "meta":
            contract.meta = expected
        elif place not in PLACES:
            raise TypeError(f"set_contract() takes {', '.join(PLACES)} and meta, not {place!r}")
        else:
            contract.types[place] = expected = None if expected is UNSET else expected
            setattr(contract, place, expected and checker(expected, place, adapter_of(expected, place).validate_python))


def metadata(contract: Contract) -> dict[str, Any]:
    """The declared types as data: labels and JSON schemas. {} if nothing is declared."""
    if not contract.meta and not any(contract.types.values()):
        return {}
    types = {place: _entry(contract.types.get(place), place) for place in PLACES}
    event = {"label": "TriggerFlowInterruptEvent", "schema": copied(_EVENT)}
    return {**types, "meta": contract.meta or {}, "system_stream": {"interrupt": event}}


def _entry(expected: Any, place: str) -> dict[str, Any] | None:
    label = expected.__name__ if isinstance(expected, type) else str(expected)
    return None if expected is None else {"label": label, "schema": adapter_of(expected, place).json_schema()}


def adapter_of(expected: Any, place: str) -> Any:
    """Pydantic's adapter of a declared type. Raises `TypeError` for one that Pydantic does not know."""
    from pydantic import TypeAdapter  # imported here, because a flow without a contract does not need Pydantic
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(_for_pydantic(expected))
    except PydanticUserError as error:
        raise TypeError(f"Invalid TriggerFlow contract {place!r}: {expected!r}; {error}") from error


def _for_pydantic(expected: Any) -> Any:
    """The type with each `typing.TypedDict` replaced by the same one of `typing_extensions`, which Pydantic wants
    before Python 3.12. One in a model, or one that contains itself, stays as it is, and Pydantic says what to write."""
    return expected if sys.version_info >= (3, 12) else _replaced(expected, {})


def _replaced(kind: Any, made: dict[Any, Any]) -> Any:
    if is_typeddict(kind) and type(kind).__module__ == "typing":
        if kind not in made:
            import typing_extensions  # Pydantic needs it, too

            made[kind] = kind  # while its own keys are read
            keys = get_type_hints(kind, include_extras=True)
            parts = {key: _key(_replaced(part, made), key in kind.__required_keys__) for key, part in keys.items()}
            made[kind] = cast("Any", typing_extensions.TypedDict)(kind.__name__, parts)
            made[kind].__module__, made[kind].__doc__ = kind.__module__, kind.__doc__
        return made[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (None, Literal, Callable) or not parts:
        return kind
    if origin is Annotated:
        return Annotated[(_replaced(parts[0], made), *parts[1:])]
    new = tuple(_replaced(part, made) for part in parts)
    if new == parts:
        return kind
    return reduce(or_, new) if origin in (Union, UnionType) else origin[new[0] if len(new) == 1 else new]


def _key(part: Any, required: bool) -> Any:
    says_so = get_origin(part) in (Required, NotRequired)
    return part if says_so or required else NotRequired[part]
