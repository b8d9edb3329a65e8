"""S10, S18, S19: a lazy for_each source that can be asked again, and one that cannot."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import DefinitionError, PayloadError, SnapshotError
from triggerflow.stores import MemoryData, MemoryStore


def numbered(*, sync: bool) -> tuple[TriggerFlow, list[str], asyncio.Event, asyncio.Event]:
    """A flow that goes through pages of a source; the item "c" tells that it was reached, and waits at a gate."""
    flow = TriggerFlow(name="pages")
    asked: list[str] = []
    reached, gate = asyncio.Event(), asyncio.Event()

    def letters(prefix: str, *, upto: str) -> Iterator[str]:
        for letter in "abcde":
            asked.append(letter)
            yield prefix + letter
            if letter == upto:
                return

    async def letters_async(prefix: str, *, upto: str) -> AsyncIterator[str]:
        for letter in letters(prefix, upto=upto):
            yield letter

    pages = flow.source(letters if sync else letters_async, name="letters")

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return pages(data.value, upto="d")

    @flow.chunk("page")
    async def page(data: Any) -> str:
        if data.value.endswith("c"):
            reached.set()
            await gate.wait()
        return data.value.upper()

    flow.to(plan).for_each(concurrency=1).to(page).end_for_each().end()
    return flow, asked, reached, gate


@pytest.mark.parametrize("sync", [True, False])
async def test_a_source_gives_its_items_one_after_another(sync: bool) -> None:
    flow, _, _, gate = numbered(sync=sync)
    gate.set()
    assert await flow.async_start("x") == ["XA", "XB", "XC", "XD"]


@pytest.mark.parametrize("sync", [True, False])
async def test_s18_a_saved_execution_asks_its_source_again_and_goes_on_where_it_was(sync: bool) -> None:
    flow, _, reached, _ = numbered(sync=sync)
    execution = flow.create_execution()
    execution.begin("x")
    await reached.wait()
    saved = json.loads(json.dumps(execution.save()))
    await execution.async_cancel()

    flow, asked, _, gate = numbered(sync=sync)
    gate.set()
    assert await flow.load_execution(saved).async_get_result() == ["XA", "XB", "XC", "XD"]
    assert asked == ["a", "b", "c", "d"]  # asked from the first item on; those that were taken are passed over


async def test_a_durable_run_asks_its_source_again_and_goes_on_where_it_was() -> None:
    data = MemoryData()
    flow, _, reached, _ = numbered(sync=False)
    async with MemoryStore(data) as store:
        execution = flow.create_execution(store=store, id="one")
        await execution.async_open()
        execution.begin("x")
        await reached.wait()
        await execution.async_emit("nothing hears this")  # what went before is on disk with it
    flow, _, _, gate = numbered(sync=False)
    gate.set()
    async with MemoryStore(data) as store:
        resumed = await flow.async_resume("one", store=store)
        assert await resumed.async_get_result() == ["XA", "XB", "XC", "XD"]


async def test_a_generator_is_refused_in_a_durable_run_and_the_error_says_what_to_do() -> None:
    flow = TriggerFlow(name="generators")

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return (letter for letter in "abc")

    flow.to(plan).for_each().end_for_each().end()
    assert await flow.async_start() == ["a", "b", "c"]
    async with MemoryStore() as store:
        with pytest.raises(PayloadError, match=r"the result of chunk 'plan' is a builtins.generator.*@flow\.source"):
            await flow.create_execution(store=store).async_start()


def test_a_name_belongs_to_one_function() -> None:
    flow = TriggerFlow()
    flow.source(lambda: iter("a"), name="letters")
    with pytest.raises(DefinitionError, match="'letters' is registered"):
        flow.source(lambda: iter("b"), name="letters")


async def test_a_source_that_is_not_registered_is_told() -> None:
    flow, _, reached, _ = numbered(sync=True)
    execution = flow.create_execution()
    execution.begin("x")
    await reached.wait()
    saved = execution.save()
    await execution.async_cancel()
    other = TriggerFlow(name="pages")

    @other.chunk("plan")
    async def plan(data: Any) -> Any:
        return []

    @other.chunk("page")
    async def page(data: Any) -> str:
        return ""

    other.to(plan).for_each(concurrency=1).to(page).end_for_each().end()
    with pytest.raises(SnapshotError, match=r"source 'letters', which is not registered.*@flow\.source"):
        other.load_execution(saved)
