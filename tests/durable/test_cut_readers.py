"""A reader of the past is told when what it reads is deleted or compacted meanwhile; it does not just end."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import RecordsTrimmed, UnknownExecution

Open = Callable[..., Any]


def talking(items: int) -> TriggerFlow:
    """A flow that puts so many items and changes its state as often."""
    flow = TriggerFlow("talk")

    @flow.chunk("say")
    async def say(data: Any) -> None:
        for number in range(items):
            await data.async_put_into_stream(number)
            data.state.set("last", number)

    flow.to(say).end()
    return flow


def reading(history: Any, how: str) -> AsyncIterator[Any]:
    return getattr(history, how)("x")


@pytest.mark.parametrize("how", ["journal", "lines", "stream"])
async def test_a_reader_of_an_execution_that_is_pruned(open_store: Open, how: str) -> None:
    flow = talking(1500)
    async with open_store() as store:
        await flow.create_execution(store=store, id="x").async_start()
        history = flow.history(store)
        reader = reading(history, how)
        await anext(reader)
        await history.prune(keep=0)
        with pytest.raises(UnknownExecution, match="'x'"):
            async for _ in reader:
                pass


@pytest.mark.parametrize("how", ["journal", "lines"])
async def test_a_reader_of_an_execution_that_is_compacted(open_store: Open, how: str) -> None:
    flow = talking(1500)
    async with open_store() as store:
        await flow.create_execution(store=store, id="x").async_start()
        history = flow.history(store)
        reader = reading(history, how)
        await anext(reader)
        await history.compact("x")
        with pytest.raises(RecordsTrimmed, match="'x' was compacted while it was read"):
            async for _ in reader:
                pass
        assert [number async for number, _ in history.journal("x")], "what is left can be read from the beginning"
        assert len([item async for item in history.stream("x")]) == 1500


async def test_a_stream_is_not_cut_by_a_compaction(open_store: Open) -> None:
    flow = talking(1500)
    async with open_store() as store:
        await flow.create_execution(store=store, id="x").async_start()
        history = flow.history(store)
        reader = history.stream("x")
        found = [await anext(reader)]
        await history.compact("x")
        found += [item async for item in reader]
        assert found == list(range(1500))
