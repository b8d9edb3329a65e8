"""Odd numbers, odd texts, and stores that are closed under those who wait: each is refused or told at once."""

import asyncio
import math
from typing import Any

import pytest

from tests.durable.conftest import Open
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError, ExecutionSuspended, OptionError, UsageError
from triggerflow.stores import MemoryStore

Data = TriggerFlowRuntimeData[Any]

HALF = "\ud800"


def asking() -> TriggerFlow:
    """Asks, and gives the answer back."""
    flow = TriggerFlow("asking")

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    async def echo(data: Data) -> Any:
        return data.value

    flow.to(ask).to(("echo", echo)).end()
    return flow


async def test_who_waits_in_another_process_is_told_that_the_store_was_closed(open_store: Open) -> None:
    """The waiters and readers of a mirror as those of the owner; both can go on in a store that is open."""
    flow = asking()
    async with open_store() as here:
        execution = flow.create_execution(store=here, id="x")
        await execution.async_begin(1)

        async def items(of: Any) -> list[Any]:
            return [item async for item in of.get_async_runtime_stream()]

        async with open_store() as there:
            shown = await flow.async_attach("x", store=there)
            waiting = [asyncio.ensure_future(it) for it in (shown.async_get_result(), items(shown))]
            await asyncio.sleep(0.1)
            assert not any(it.done() for it in waiting)
        for ended in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(ended, ExecutionSuspended)
            assert "its store was closed" in str(ended)
        await execution.async_continue_with("q", "yes")
        assert await execution.async_get_result() == "yes"


@pytest.mark.parametrize("what", [{HALF: "x"}, {"x": HALF}], ids=["key", "value"])
async def test_half_a_character_in_a_label_is_refused(what: dict[str, str]) -> None:
    async with MemoryStore() as store:
        with pytest.raises(OptionError, match="half of a surrogate pair"):
            await asking().async_submit(1, store=store, labels=what)


async def test_half_a_character_in_an_id_is_refused(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store:
        for make in (flow.async_submit(1, store=store, id=HALF), flow.async_resume(HALF, store=store)):
            with pytest.raises(UsageError, match="half of a surrogate pair"):
                await make
        with pytest.raises(UsageError, match="half of a surrogate pair"):
            await flow.async_attach(HALF, store=store)


@pytest.mark.parametrize("seconds", [1e300, 10**400, 1e11])
async def test_no_time_is_later_than_a_date_can_be(seconds: float) -> None:
    """It could be started, and not be exported."""
    flow = asking()
    async with MemoryStore() as store:
        with pytest.raises(UsageError, match="at most 100 years"):
            await flow.async_submit(1, store=store, delay=seconds)
        with pytest.raises(DefinitionError, match=r"at most 100 years, or math\.inf"):
            await flow.async_submit(1, store=store, execution_timeout=seconds)
        with pytest.raises(DefinitionError, match=r"at most 100 years, or math\.inf"):
            Retry(2, initial_interval=seconds)
        await flow.async_submit(1, store=store, execution_timeout=math.inf)
