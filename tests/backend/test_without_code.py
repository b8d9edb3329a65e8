"""A store is read without the code of its flows: executions of any version, and values of classes that are not here."""

import datetime
import enum
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.backend.reading import all_executions, check_execution
from tests.stored import flows
from tests.stored.test_stored import V1
from triggerflow import TriggerFlow
from triggerflow.backend import StoreBackend, UnknownFlow, error_info
from triggerflow.stores import MemoryStore, SQLiteStore, Store


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Store]:
    """The executions that version 0.1.0 has stored."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(gzip.decompress((V1 / "store.sqlite.gz").read_bytes()))
    async with SQLiteStore(path, synchronous="NORMAL") as store:
        yield store


async def test_executions_of_an_earlier_version_are_read_with_and_without_their_code(stored: Store) -> None:
    without = StoreBackend(stored)
    made = {flow.name: flow for flow in (make() for make in flows.FLOWS.values())}
    backend = StoreBackend(stored, *made.values())
    kinds, questions = set[str](), 0
    for info in await all_executions(without):
        kinds |= await check_execution(without, info.id)
        assert [it async for it in without.frames(info.id)] == [it async for it in backend.frames(info.id)], info.id
        assert await without.state_at(info.id) == await backend.state_at(info.id), info.id
        assert [it async for it in without.stream(info.id)] == [it async for it in backend.stream(info.id)]
        assert await without.result(info.id) == await backend.result(info.id)
        drawing = await without.drawing(info.flow, definition=info.definition)
        assert drawing.definition == info.definition
        assert drawing.flow == info.flow
        assert not (await without.contract(info.flow, definition=info.definition)).has_code
        if info.parent is None:
            assert b"".join([it async for it in without.export(info.id)]).startswith(b'{"line":')
            questions += len((await without.questions(execution=info.id)).questions)
            assert (await without.diff(info.id, info.id)).same
    assert {"started", "paused", "resumed", "timer_fired", "recovered", "pulled", "created", "retracted"} <= kinds
    assert questions
    assert len((await without.questions()).questions) == questions == len((await backend.questions()).questions)


# -- classes -----------------------------------------------------------------------------------------------------------


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: int


class Part(msgspec.Struct):
    name: str


@dataclass
class Order:
    number: int
    parts: list[Part]
    colour: Colour


CLASSES = (Colour, Level, Point, Part, Order)


def ordering() -> TriggerFlow:
    """Decides by values of its own classes."""
    flow = TriggerFlow("ordering")
    for cls in CLASSES:
        flow.register_type(cls)

    @flow.chunk("make")
    async def make(data: Any) -> Any:
        data.state.set("order", Order(1, [Part("wheel")], Colour.RED))
        data.state.set("at", {"when": datetime.date(2026, 1, 2), "price": Decimal("1.50"), 3: (1, {2})})
        data.state.append("points", Point(1, 2))
        data.state.set("like", {"$type": "a dict of the user's"})
        return Colour.RED

    @flow.chunk("red")
    async def red(data: Any) -> Any:
        return Level.LOW

    @flow.chunk("blue")
    async def blue(data: Any) -> Any:
        return "never"

    @flow.chunk("same")
    async def same(data: Any) -> Any:
        return data.state.get("order")

    flow.to(make).match().case("blue").to(blue).case(Colour.RED).to(red).end_match().match().case(1).to(
        same
    ).case_else().to(blue).end_match().end()
    return flow


async def test_values_of_classes_that_are_not_here_are_shown_with_the_names_of_their_types() -> None:
    async with MemoryStore() as store:
        flow = ordering()
        execution = flow.create_execution(store=store, id="one")
        await execution.async_start(Order(7, [], Colour.BLUE))
        without, backend = StoreBackend(store), StoreBackend(store, flow)
        order = {"$type": "Order", "number": 1, "parts": [{"$type": "Part", "name": "wheel"}],
                 "colour": {"$type": "Colour", "value": "red"}}  # fmt: skip
        state = await without.state_at("one")
        assert state.result == order
        assert state.value == {
            "$type": "Order",
            "number": 7,
            "parts": [],
            "colour": {"$type": "Colour", "value": "blue"},
        }
        assert state.state == {
            "order": order,
            "at": {"$type": "dict", "items": [["when", "2026-01-02"], ["price", "1.50"], [3, [1, [2]]]]},
            "points": [{"$type": "Point", "x": 1, "y": 2}],
            "like": {"$type": "dict", "items": [["$type", "a dict of the user's"]]},
        }
        assert state == await backend.state_at("one")
        frames = [it async for it in without.frames("one")]
        assert frames == [it async for it in backend.frames("one")]
        await check_execution(without, "one")
        assert msgspec.json.decode(msgspec.json.encode(frames)) == msgspec.to_builtins(frames)


async def test_a_class_that_has_changed_since_does_not_hide_an_execution() -> None:
    async with MemoryStore() as store:
        flow = ordering()
        await flow.create_execution(store=store, id="one").async_start(Order(7, [], Colour.BLUE))
        later = TriggerFlow("ordering")
        later.register_type(Point, "Order")
        state = await StoreBackend(store, later).state_at("one")
        assert state == await StoreBackend(store).state_at("one")


async def test_what_nobody_knows_is_an_error_with_a_code() -> None:
    async with MemoryStore() as store:
        await ordering().create_execution(store=store, id="one").async_start(None)
        backend = StoreBackend(store)
        with pytest.raises(UnknownFlow) as raised:
            await backend.drawing("ordering", definition="0" * 12)
        assert error_info(raised.value).code == "unknown_flow"
        with pytest.raises(UnknownFlow):
            await backend.contract("another")
        with pytest.raises(UnknownFlow):
            await backend.fork("one", at=1)
