"""Contracts: the types that a flow declares. Pydantic checks values, and describes types as JSON schemas."""

from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

import msgspec

from triggerflow.extension import UNSET, Contract, checker

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
            setattr(contract, place, expected and checker(expected, place, _adapter(expected, place).validate_python))


def metadata(contract: Contract) -> dict[str, Any]:
    """The declared types as data: labels and JSON schemas. {} if nothing is declared."""
    if not contract.meta and not any(contract.types.values()):
        return {}
    types = {place: _entry(contract.types.get(place), place) for place in PLACES}
    event = {"label": "TriggerFlowInterruptEvent", "schema": msgspec.json.schema(TriggerFlowInterruptEvent)}
    return {**types, "meta": contract.meta or {}, "system_stream": {"interrupt": event}}


def _entry(expected: Any, place: str) -> dict[str, Any] | None:
    label = expected.__name__ if isinstance(expected, type) else str(expected)
    return None if expected is None else {"label": label, "schema": _adapter(expected, place).json_schema()}


def _adapter(expected: Any, place: str) -> Any:
    from pydantic import TypeAdapter  # imported here, because a flow without a contract does not need Pydantic
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(expected)
    except PydanticUserError as error:
        raise TypeError(f"Invalid TriggerFlow contract {place!r}: {expected!r}; {error}") from error
