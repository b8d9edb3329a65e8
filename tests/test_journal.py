"""What an execution in memory keeps of its records: a window, and nothing where nobody can look (decision 0017)."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow._core.machine import replay
from triggerflow.diagram import run_view
from triggerflow.errors import UsageError
from triggerflow.extension import runtime_of
from triggerflow.records import Completed, SourceItems

Data = TriggerFlowRuntimeData[Any]


class Image:
    """A value whose size Python knows."""

    def __init__(self) -> None:
        self.pixels = bytes(500_000)


class Alive:
    """Counts how many images are alive at most."""

    def __init__(self) -> None:
        self.images = weakref.WeakSet[Image]()
        self.most = 0

    def make(self) -> Image:
        image = Image()
        self.images.add(image)
        self.most = max(self.most, len(self.images))
        return image

    def source(self, count: int) -> Iterator[Image]:
        for _ in range(count):
            yield self.make()


async def nothing(data: Data) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["async_start", "an execution", "a sub-flow", "an observer"])
async def test_s10_the_journal_holds_a_window_of_the_items(way: str) -> None:
    """S10: "holding a window and not the input": 0.5 MB each, two at a time."""
    alive, flow = Alive(), TriggerFlow()

    async def plan(data: Data) -> Any:
        if way == "an observer":
            data.execution.add_observer(lambda record: None)
        return alive.source(200)

    flow.to(plan).for_each(concurrency=2).to(nothing).end_for_each()
    if way == "a sub-flow":
        outer = TriggerFlow()
        outer.to_sub_flow(flow)
        await outer.async_start()
    elif way == "an execution":
        await flow.create_execution().async_start()
    else:
        await flow.async_start()
    assert alive.most < 20


@pytest.mark.parametrize("kind", ["object", "bytes", "dict", "small and large"])
async def test_values_that_a_chain_passes_on_are_let_go(kind: str) -> None:
    """Of results, signals and items in the stream a window is kept as well."""
    alive, flow = Alive(), TriggerFlow()

    async def step(data: Data) -> Any:
        image = alive.make()
        await data.async_emit("next", {"image": image} if kind == "dict" else image)
        return {"image": image} if kind == "dict" else image

    async def small(data: Data) -> Any:
        return {"n": 1}

    process = flow.for_each(concurrency=1)
    for number in range(3):
        process = process.to((f"step{number}", step))
        if kind == "small and large":
            process = process.to((f"small{number}", small))
    process.to(nothing).end_for_each()
    flow.when("next").to(("heard", nothing))
    await flow.create_execution().async_start(range(60))
    assert len(alive.images) <= alive.most < 60


async def test_small_values_are_kept_as_many_as_ever() -> None:
    """ "without one the newest 1,024": a run of a few hundred chunks can be drawn afterwards."""
    flow = TriggerFlow()

    async def step(data: Data) -> Any:
        return {"text": "x" * 100, "number": data.value}

    flow.for_each(concurrency=4).to(step).end_for_each().end()
    execution = flow.create_execution()
    await execution.async_start(range(400))
    records = execution.records
    runtime = runtime_of(execution)
    assert len(records) == runtime.machine.state.records == 401
    assert replay(runtime.program.plan, records).state.status == "completed"
    assert run_view(flow.definition, records).operators["step"].count == 400


async def test_what_is_held_is_whole() -> None:
    """ "whole records only": record n is the n-th of the execution, with its value, or it is not held."""
    alive, flow = Alive(), TriggerFlow()
    seen = list[Any]()
    flow.for_each(concurrency=2).to(nothing).end_for_each()
    execution = flow.create_execution()
    execution.add_observer(lambda record: seen.append(type(record)))
    await execution.async_start(alive.source(50))
    journal = runtime_of(execution).journal
    assert journal is not None
    assert [type(record) for record in journal.records] == seen[journal.first :]
    assert all(record.items or record.done for record in execution.records if isinstance(record, SourceItems))
    with pytest.raises(UsageError, match="journal_limit"):
        run_view(flow.definition, execution.records)


@pytest.mark.parametrize("limit", [1, 10, 100])
async def test_a_limit_that_is_given_holds_whatever_the_values_take(limit: int) -> None:
    """ "With a `journal_limit` ... these are that many at least, and twice as many at most"."""
    flow = TriggerFlow()

    async def step(data: Data) -> bytes:
        return bytes(100_000)

    flow.for_each(concurrency=1).to(step).to(nothing).end_for_each()
    execution = flow.create_execution(journal_limit=limit)
    await execution.async_start(range(100))
    assert limit <= len(execution.records) <= 2 * limit


async def test_an_execution_that_nobody_holds_keeps_no_records() -> None:
    """ "keeps none: raises `UsageError` then", and not an empty list; "An observer gets each record as it comes"."""
    flow, seen = TriggerFlow(), list[Any]()

    async def look(data: Data) -> None:
        with pytest.raises(UsageError, match=r"keeps no records.*create_execution.*add_observer"):
            _ = data.execution.records
        remove = data.execution.add_observer(lambda record: seen.append(record))
        data.state.set("k", 1)
        with pytest.raises(UsageError, match="keeps no records"):
            _ = data.execution.records
        remove()
        data.state.set("k", 2)

    flow.to(look)
    await flow.async_start()
    assert [record.value for record in seen] == [1]


async def test_an_execution_that_was_forgotten_takes_its_records_along() -> None:
    """Nothing else refers to them."""
    alive, flow = Alive(), TriggerFlow()

    async def make(data: Data) -> Image:
        return alive.make()

    flow.to(make).to(nothing)

    async def once() -> Execution:
        execution = flow.create_execution()
        await execution.async_start()
        return execution

    execution = await once()
    assert any(isinstance(record, Completed) and isinstance(record.value, Image) for record in execution.records)
    del execution
    gc.collect()
    assert len(alive.images) == 0
