"""Scenarios with retries, error routes, failures and cancellation."""

import asyncio
from typing import Any

from ...build.retry import Retry
from ...flow import TriggerFlow
from .scenario import Outside, echo, one_more, scenario


@scenario(value="x", result="x on 3", stream=("try",), state={"tries": 1})
def retry(flow: TriggerFlow) -> None:
    """Two failed attempts, then success: effects of the first attempt are not recorded again."""

    @flow.chunk("flaky", retry=Retry(attempts=20, initial_interval=1, jitter=0))
    async def flaky(data: Any) -> str:
        await data.async_put_into_stream("try")
        data.state.update("tries", one_more, 0)
        if data.attempt < 3:
            raise ConnectionError("not yet")
        return f"{data.value} on {min(data.attempt, 3)}"

    flow.to(flaky).end()


@scenario(value="x", result="instead of ValueError: no", stream=("handled",))
def error_route(flow: TriggerFlow) -> None:
    """A chunk that fails takes its error route."""

    async def broken(data: Any) -> None:
        raise ValueError("no")

    async def handle(data: Any) -> str:
        await data.async_put_into_stream("handled")
        return f"instead of {data.value['type']}: {data.value['message']}"

    flow.to(broken).end()
    flow.when({"error": "broken"}).to(handle).end()


@scenario(value=[1, 2, 3], options={"skip_exceptions": True}, result=[1, 3], state={"good": 2})
def skipped(flow: TriggerFlow) -> None:
    """A failing item ends only its branch, and is left out of the list."""

    async def work(data: Any) -> int:
        if data.value == 2:
            raise ValueError("two")
        data.state.update("good", one_more, 0)
        return data.value

    flow.for_each(concurrency=1).to(work).end_for_each().end()


async def _whatever(outside: Outside) -> None:
    await outside.until(lambda: False)


@scenario(value="x", error="ValueError", outside=_whatever, stream=("begun",), state={"begun": True})
def failure(flow: TriggerFlow) -> None:
    """A failing chunk fails the execution, and cancels the chunks that run concurrently."""

    async def sleeper(data: Any) -> None:
        await asyncio.sleep(1_000)

    async def broken(data: Any) -> None:
        data.state.set("begun", True)
        await data.async_put_into_stream("begun")
        await asyncio.sleep(1)
        raise ValueError("no")

    flow.batch(sleeper, broken).end()


async def _stop(outside: Outside) -> None:
    await outside.until(lambda: outside.execution.state.get("begun"))
    await outside.execution.async_cancel("enough")


@scenario(value="x", error="ExecutionCancelled", outside=_stop, state={"begun": True})
def cancel(flow: TriggerFlow) -> None:
    """An execution that would run for ever is cancelled from outside."""

    async def endless(data: Any) -> None:
        data.state.set("begun", True)
        await asyncio.sleep(1_000_000)

    flow.to(endless).to(echo).end()


@scenario(value=3, result="after 3", stream=(0, 1, 2))
def threads(flow: TriggerFlow) -> None:
    """A sync chunk runs in a thread; its effects are recorded in order."""

    def work(data: Any) -> str:
        for number in range(data.value):
            data.put_into_stream(number)
        data.state.set("done", data.value, emit=False)
        return f"after {data.state.get('done')}"

    flow.to(work).end()
