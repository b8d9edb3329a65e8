"""Values that are nested as deep as may be recorded come back from everything that reads them; deeper ones are refused.

The limit is the same for what is written and for what is read, for every kind of value and at every place."""

import dataclasses
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import PayloadError
from triggerflow.serialize.payload import DEPTH
from triggerflow.stores import MemoryStore

Open = Callable[..., Any]


@dataclasses.dataclass
class Box:
    inner: Any = None


class Struct(msgspec.Struct):
    inner: Any = None


class Row(NamedTuple):
    inner: Any = None


class Model(pydantic.BaseModel):
    inner: Any = None


def nested(wrap: Callable[[Any], Any], levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


#: how a value is put into another one, and how many levels that takes
KINDS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "list": (lambda it: [it], 1),
    "dict": (lambda it: {"a": it}, 1),
    "wide list": (lambda it: [*range(40), it], 1),
    "long texts": (lambda it: ["word " * 300, it], 1),
    "tuple": (lambda it: (it,), 2),
    "frozenset": (lambda it: frozenset([it]), 2),
    "dict of numbers": (lambda it: {1: it}, 3),
    "dict of tuples": (lambda it: {(1, 2): it}, 3),
    "dataclass": (Box, 2),
    "struct": (Struct, 2),
    "named tuple": (Row, 2),
    "model": (lambda it: Model(inner=it), 3),
    "list in a dict in a tuple": (lambda it: ({"a": [it]},), 4),
}
PLACES = ["start", "state", "stream", "interrupt", "signal", "result"]


def flow_of(place: str) -> TriggerFlow:
    flow = TriggerFlow("deep")
    for cls in (Box, Struct, Row, Model):
        flow.register_type(cls)

    @flow.chunk("first")
    async def first(data: Any) -> Any:
        value = data.value
        if place == "state":
            data.state.set("value", value)
        elif place == "stream":
            await data.async_put_into_stream(value)
        elif place == "signal":
            await data.async_emit("later", value, delay=1000)
        elif place == "result":
            await data.async_set_result(value)
        if place != "result":
            data.pause_for(payload=value if place == "interrupt" else "?")

    @flow.chunk("second")
    async def second(data: Any) -> None:
        """Gets the signal."""

    flow.when("later").to(second)
    flow.to(first).end()
    return flow


def levels(kind: str) -> int:
    """How many of a kind fit into each other."""
    return (DEPTH - 4) // KINDS[kind][1]


@pytest.mark.parametrize(
    ("kind", "place"), [*((kind, "state") for kind in KINDS), *(("tuple", place) for place in PLACES)]
)
async def test_the_deepest_value_is_read_again(kind: str, place: str) -> None:
    value = nested(KINDS[kind][0], levels(kind))
    flow = flow_of(place)
    async with MemoryStore() as store, MemoryStore() as other:
        execution = flow.create_execution(store=store, id="x")
        await execution.async_begin(value)
        await execution.async_committed(execution.get_status)
        await execution.async_settled()
        if execution.get_status() != "completed":
            await execution.async_suspend()
        history = flow.history(store)
        file = io.BytesIO()
        await history.export("x", file)
        await flow.history(other).load(io.BytesIO(file.getvalue()))
        await history.compact("x")
        compacted = io.BytesIO()
        await history.export("x", compacted)
        await history.load(io.BytesIO(compacted.getvalue()), id="y")
        for at, id in ((store, "x"), (other, "x"), (store, "y")):
            assert (await flow.history(at).state_at(id)).value is not None
            again = await flow.async_resume(id, store=at)
            await again.async_settled()
            assert again.get_status() == ("completed" if place == "result" else "waiting")
            if place != "result":
                await again.async_suspend()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deeper_value_is_refused_when_it_is_written(kind: str) -> None:
    value = nested(KINDS[kind][0], DEPTH + 1)
    flow = flow_of("state")
    async with MemoryStore() as store:
        with pytest.raises(PayloadError, match="levels deep"):
            await flow.create_execution(store=store, id="x").async_begin(value)
        assert await store.find("x") is None
