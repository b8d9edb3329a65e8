"""Annotations that are strings (`from __future__ import annotations`): resolved, or refused with the name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic
import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import ContractError, DefinitionError


@dataclasses.dataclass
class Hit:
    """At the top of a module, and found."""

    url: str


@dataclasses.dataclass
class Found:
    hits: list[Hit] = dataclasses.field(default_factory=list[Hit])


@dataclasses.dataclass
class Count:
    number: int = 0


def local() -> dict[str, Any]:
    """Classes whose annotations name a class of this function."""

    @dataclasses.dataclass
    class Inner:
        url: str

    @dataclasses.dataclass
    class Data:
        hits: list[Inner] = dataclasses.field(default_factory=list[Any])

    class Struct(msgspec.Struct):
        hits: list[Inner] = []

    class Model(pydantic.BaseModel):
        hits: list[Nowhere] = []  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    return {"dataclass": Data, "struct": Struct, "pydantic": Model}


CALLS: dict[str, Callable[[TriggerFlow, Any], Any]] = {
    "set_state": lambda flow, kind: flow.set_state(kind),
    "signal": lambda flow, kind: flow.signal("found", kind),
    "signal of a list": lambda flow, kind: flow.signal("found", list[kind]),
    "result": lambda flow, kind: flow.set_contract(result=kind),
    "initial_input": lambda flow, kind: flow.set_contract(initial_input=kind),
    "stream": lambda flow, kind: flow.set_contract(stream=dict[str, kind]),
    "register_type": lambda flow, kind: flow.register_type(kind),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["dataclass", "struct", "pydantic"])
def test_an_annotation_that_is_not_found_is_refused_with_its_name(call: str, kind: str) -> None:
    with pytest.raises(DefinitionError, match=r"'Inner'|'Nowhere'") as caught:
        CALLS[call](TriggerFlow(name="f"), local()[kind])
    assert "define" in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [Found, Count])
def test_an_annotation_that_is_found_is_resolved(call: str, kind: Any) -> None:
    CALLS[call](TriggerFlow(name="f"), kind)


async def test_a_resolved_annotation_is_checked() -> None:
    flow = TriggerFlow().set_state(Found)
    flow.to(lambda data: data.state.set("hits", [Hit("x")]))
    await flow.async_start()
    flow.to(lambda data: data.state.set("hits", [5]))
    with pytest.raises(ContractError, match="hits"):
        await flow.async_start()
