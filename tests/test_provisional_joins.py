"""A retraction takes back what its signal has put into joins outside of its work: no value of a dead answer joins one
of the next."""

import json
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow import TriggerFlowRuntimeData as Data
from triggerflow.models import Response
from triggerflow.stores import MemoryStore

FIRST, SECOND = '{"title": "old", "query": 5}', json.dumps({"query": "q", "title": "new"})


async def seen(flow: TriggerFlow, value: Any = None, **options: Any) -> list[Any]:
    """What the flow puts into its stream, but for retractions."""
    execution = flow.create_execution(**options)
    stream = execution.get_async_runtime_stream(value)
    return [item async for item in stream if not (isinstance(item, dict) and item.get("type") == "retraction")]


def joining(name: str = "joining", **options: Any) -> TriggerFlow:
    """A flow in which `both` runs once it has `title` and `query`."""
    flow = TriggerFlow(name=name)

    @flow.chunk("both")
    async def both(data: Data) -> None:
        await data.async_put_into_stream(tuple(data.value["event"].values()))

    flow.when({"event": ["title", "query"]}, mode="and", **options).to(both)
    return flow


async def test_a_field_of_a_dropped_answer_joins_no_field_of_the_next() -> None:
    flow = joining()
    answers = iter((FIRST, SECOND))

    @flow.chunk("plan")
    async def plan(data: Data) -> None:
        response = Response(lambda: [next(answers)], output={"title": str, "query": str})
        await data.async_emit_fields(response, {"title": "title", "query": "query"})

    flow.to(plan)
    assert await seen(flow) == [("new", "q")]


@pytest.mark.parametrize("way", ["signal", "nested", "through a chunk", "delayed"])
@pytest.mark.parametrize("decision", ["retracted", "confirmed"])
async def test_only_a_retracted_value_leaves_a_join(way: str, decision: str) -> None:
    flow = joining()

    @flow.chunk("guess")
    async def guess(data: Data) -> None:
        name = "title" if way == "signal" else way
        number = await data.async_emit(name, "guess", provisional=True, delay=1 if way == "delayed" else None)
        await data.async_emit("pause", settle=True, delay=2)
        if decision == "retracted":
            await data.async_retract(number, "wrong")
        else:
            await data.async_confirm(number)
        await data.async_emit("query", "q")

    @flow.chunk("pass on")
    async def pass_on(data: Data) -> None:
        number = await data.async_emit("title", data.value, provisional=way == "nested")
        if way == "nested":
            await data.async_confirm(number)

    @flow.chunk("nothing")
    async def nothing(data: Data) -> None: ...

    flow.to(guess)
    flow.when("pause").to(nothing)
    for name in ("nested", "through a chunk", "delayed"):
        flow.when(name).to(pass_on)
    expected = [("guess", "q")] if decision == "confirmed" else []
    assert await seen(flow) == expected


async def test_a_later_value_stays_when_the_one_before_it_is_retracted() -> None:
    flow = joining()

    @flow.chunk("guess")
    async def guess(data: Data) -> None:
        number = await data.async_emit("title", "guess", provisional=True)
        await data.async_emit("title", "certain")
        await data.async_retract(number, "wrong")
        await data.async_emit("query", "q")

    flow.to(guess)
    assert await seen(flow) == [("certain", "q")]


async def test_a_join_inside_of_an_item_is_emptied_too() -> None:
    flow = TriggerFlow(name="items")

    @flow.chunk("guess")
    async def guess(data: Data) -> None:
        number = await data.async_emit("title", data.value, provisional=True)
        if data.value % 2:
            await data.async_retract(number, "wrong")
        await data.async_emit("query", data.value)

    @flow.chunk("both")
    async def both(data: Data) -> None:
        await data.async_put_into_stream(data.value["event"]["title"])

    items = flow.for_each(concurrency=1)
    items.to(guess).end_for_each()
    flow.when({"event": ["title", "query"]}, mode="and").to(both)
    assert await seen(flow, [0, 1, 2, 3]) == [0, 2]


@pytest.mark.parametrize("mode", ["filled_and_update", "filled_then_empty"])
async def test_a_collection_is_emptied_too(mode: str) -> None:
    flow = TriggerFlow(name="collecting")

    @flow.chunk("guess")
    async def guess(data: Data) -> None:
        number = await data.async_emit("left", "guess", provisional=True, settle=True)
        await data.async_retract(number, "wrong")
        await data.async_emit("right", "r", settle=True)
        await data.async_emit("left", "l")

    @flow.chunk("both")
    async def both(data: Data) -> None:
        await data.async_put_into_stream(dict(data.value))

    @flow.chunk("same")
    async def same(data: Data) -> Any:
        return data.value

    flow.to(guess)
    flow.when("left").to(same).collect("sides", "left", mode=mode)
    flow.when("right").to(same).collect("sides", "right", mode=mode).to(both)
    found = await seen(flow)
    assert found
    assert all(item == {"left": "l", "right": "r"} for item in found)


@pytest.mark.parametrize("durable", [False, True])
async def test_an_execution_that_goes_on_elsewhere_empties_the_join_as_well(durable: bool) -> None:
    flow = joining("elsewhere")

    @flow.chunk("guess")
    async def guess(data: Data) -> None:
        number = await data.async_emit("title", "guess", provisional=True)
        await data.async_emit("ask", settle=True)
        await data.async_retract(number, "wrong")
        await data.async_emit("query", "q")

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="ask")

    flow.to(guess)
    flow.when("ask").to(ask)
    async with MemoryStore() as store:
        execution = flow.create_execution(store=store, id="e") if durable else flow.create_execution()
        await execution.async_begin(None)
        async for item in execution.get_async_runtime_stream():
            assert item["type"] == "interrupt"
            break
        if durable:
            await execution.async_suspend()
            execution = await flow.async_resume("e", store=store)
        else:
            saved = execution.save()
            await execution.async_cancel()
            execution = flow.load_execution(saved)
        found = execution.get_async_runtime_stream(after=1)
        await execution.async_continue_with("ask", None)
        await execution.async_close()
        assert not [item async for item in found if "type" not in item]
