"""An answer that comes while the sub-flow that asks is still being opened: it is checked like any other."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import ContractError
from triggerflow.stores import MemoryData, MemoryStore


def asking(depth: int) -> TriggerFlow:
    """Asks for a number, so many sub-flows deep, and doubles it."""
    flow = TriggerFlow(f"asking-{depth}")
    if depth:
        flow.to_sub_flow(asking(depth - 1)).end()
        return flow

    @flow.chunk("ask")
    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id="number", schema=int)

    @flow.chunk("double")
    async def double(data: Any) -> int:
        return data.value * 2

    flow.to(ask).to(double).end()
    return flow


async def resumed(depth: int, then: Callable[[Any], Awaitable[None]]) -> None:
    """Begin in one process, and go on in the next."""
    data = MemoryData()
    async with MemoryStore(data) as store:
        execution = asking(depth).create_execution(store=store, id="one")
        await execution.async_begin()
        await execution.async_settled()
    async with MemoryStore(data) as store:
        await then(await asking(depth).async_resume("one", store=store))


async def loaded(depth: int, then: Callable[[Any], Awaitable[None]]) -> None:
    """The same without a store."""
    execution = asking(depth).create_execution()
    await execution.async_begin()
    await execution.async_settled()
    saved = execution.save()
    await execution.async_cancel()
    await then(asking(depth).load_execution(saved))


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("process", [resumed, loaded])
async def test_an_answer_right_after_a_restart_is_checked(process: Any, depth: int) -> None:
    """A wrong one is refused, and the question stays open."""

    async def answer(execution: Any) -> None:
        (name,) = execution.get_pending_interrupts()
        with pytest.raises(ContractError):
            await execution.async_continue_with(name, "many")
        await execution.async_continue_with(name, 7)
        assert await execution.async_get_result() == 14

    await process(depth, answer)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("process", [resumed, loaded])
async def test_who_waits_for_rest_after_a_restart_is_woken(process: Any, depth: int) -> None:
    async def settled(execution: Any) -> None:
        async with asyncio.timeout(60):
            assert await execution.async_settled()
        (name,) = execution.get_pending_interrupts()
        await execution.async_continue_with(name, 1)
        assert await execution.async_get_result() == 2

    await process(depth, settled)
