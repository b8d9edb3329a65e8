"""Values of many kinds come back equal, or are refused when they are written; docs/values.md says which."""

from __future__ import annotations

import dataclasses
import datetime as dt
from enum import Enum
from typing import Any

import msgspec
import pydantic
import pytest

from tests import values
from tests.support import turns
from triggerflow import TriggerFlow
from triggerflow.errors import DefinitionError, PayloadError
from triggerflow.stores import MemoryStore


def parts(value: Any) -> Any:
    """A value as types and data, without the `==` of its class."""
    if isinstance(value, pydantic.BaseModel):
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        fields = {name: value.__dict__[name] for name in type(value).model_fields if name in value.__dict__}
        return type(value), parts(fields), value.__pydantic_fields_set__, parts(extra), parts(private)
    if isinstance(value, Enum):
        return type(value), value.name, id(value)
    if dataclasses.is_dataclass(value):
        return type(value), parts({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, msgspec.Struct):
        return type(value), parts({name: getattr(value, name) for name in value.__struct_fields__})
    if isinstance(value, dict):
        return type(value), [(parts(key), parts(it)) for key, it in value.items()]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, set | frozenset):
        return type(value), {repr(it) for it in value}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return type(value), [parts(it) for it in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dt.datetime | dt.time):
        return type(value), repr(value), type(value.tzinfo), value.tzinfo
    return type(value), repr(value)


@pytest.mark.parametrize(("value", "comes_back"), [it[1:] for it in values.KINDS], ids=[it[0] for it in values.KINDS])
def test_a_value_comes_back_equal_or_is_refused(value: Any, comes_back: bool) -> None:
    if comes_back:
        back = values.stored(value)
        if not isinstance(value, list) or len(value) != 1:  # pyright: ignore[reportUnknownArgumentType]
            assert parts(back) == parts(value)
    else:
        with pytest.raises(PayloadError, match=r"^value"):
            values.stored(value)


def test_the_page_has_the_table() -> None:
    assert len(values.KINDS) >= 60
    assert values.page() == values.PAGE.read_text(encoding="utf-8"), "write it anew: python -m tests.values"


# -- declared types register themselves --------------------------------------------------------------------------------


@dataclasses.dataclass
class Hit:
    url: str


class Page(pydantic.BaseModel):
    hits: list[Hit]


class Search(msgspec.Struct):
    pages: list[Page] = []


@pytest.mark.parametrize("how", ["signal", "contract", "state"])
async def test_declared_types_need_no_registration(how: str) -> None:
    flow = TriggerFlow(name="declared")
    value = [Page(hits=[Hit("a")])]
    if how == "signal":
        flow.signal("found", list[Page])
    elif how == "contract":
        flow.set_contract(initial_input=int, result=list[Page])
    else:
        flow.set_state(Search)

    async def ask(data: Any) -> Any:
        if how == "state":
            data.state.set("pages", value)
        data.pause_for(interrupt_id="q")

    async def after(data: Any) -> Any:
        if how == "signal":
            await data.async_emit("found", value)
        return data.state.get("pages") if how == "state" else value

    flow.to(ask).to(after).end()
    flow.when("found").to(lambda data: data.value)
    first = MemoryStore()
    async with first as store:
        await flow.create_execution(store=store, id="x").async_begin(1)
        await turns(30)
    async with MemoryStore(first.data) as store:
        execution = await flow.async_resume("x", store=store)
        await execution.async_continue_with("q", 1)
        if how == "contract" or how == "state":
            assert await execution.async_get_result() == value
        else:
            await execution.async_close()
    if how == "signal":  # the result is no value of the signal, but its classes are known
        assert flow.register_type(Hit) is Hit


def test_two_classes_of_one_name_have_none() -> None:
    one, other = (dataclasses.make_dataclass("Same", [("n", int)]) for _ in range(2))
    other.__module__ = "elsewhere"
    types = values.Types()
    types.find(one)
    types.pack(one(1), "value")
    types.find(other)
    for cls in (one, other):
        with pytest.raises(PayloadError, match=r"elsewhere\.Same.*register_type"):
            types.pack(cls(1), "value")
    types.register(other, "other")
    assert types.unpack(types.pack([one(1), other(2)], "value")) == [one(1), other(2)]


# -- annotations that are text -----------------------------------------------------------------------------------------


def local_types(kind: str) -> Any:
    @dataclasses.dataclass
    class Inner:
        url: str

    if kind == "dataclass":

        @dataclasses.dataclass
        class Outer:
            hits: list[Inner] = dataclasses.field(default_factory=list)  # pyright: ignore[reportUnknownVariableType]
    elif kind == "struct":

        class Outer(msgspec.Struct):
            hits: list[Inner] = []
    else:

        class Outer(pydantic.BaseModel):
            hits: list[Inner] = []

    return Outer, Inner


@pytest.mark.parametrize("kind", ["dataclass", "struct", "pydantic"])
@pytest.mark.parametrize("how", ["signal", "contract", "state"])
def test_a_name_of_the_declaring_function_is_found_and_another_is_refused_at_once(kind: str, how: str) -> None:
    def declare(model: Any, **known: Any) -> TriggerFlow:
        Inner = known.get("Inner")
        if Inner is None:
            del Inner
        flow = TriggerFlow(name="t")
        if how == "signal":
            flow.signal("s", model)
        elif how == "contract":
            flow.set_contract(initial_input=model)
        else:
            flow.set_state(model)
        return flow

    outer, inner = local_types(kind)
    if kind != "pydantic":  # Pydantic has looked it up where the class was made
        with pytest.raises(DefinitionError, match=r"Outer mentions 'Inner'"):
            declare(outer)
    flow = declare(outer, Inner=inner)
    flow.to(lambda data: data.state.get("hits") if how == "state" else data.value).end()
    start = {"hits": [{"url": "u"}]}
    if how == "contract":
        assert flow.start(start) == outer(hits=[inner("u")])
    else:
        assert flow.start(start) == ([] if how == "state" else start)
