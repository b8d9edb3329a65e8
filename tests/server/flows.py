"""The flows that the tests of the server serve."""

import asyncio
from typing import Any

from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]


def report() -> TriggerFlow:
    """Writes its words into the stream, asks whether to publish, and publishes."""
    flow = TriggerFlow("report")
    flow.set_contract(initial_input=str)

    @flow.chunk("draft")
    async def draft(data: Data) -> None:
        data.state.set("topic", data.value)
        for word in data.value.split():
            await data.async_put_into_stream({"delta": word})
        data.pause_for(type="approval", payload=data.value, schema=bool, interrupt_id="approve")

    @flow.chunk("publish")
    async def publish(data: Data) -> str:
        return f"{data.state.get('topic')}: {data.value}"

    flow.to(draft).to(publish).end()
    return flow


def echo(name: str = "echo") -> TriggerFlow:
    """Returns what it was started with, or fails with "no"."""
    flow = TriggerFlow(name)

    @flow.chunk("answer")
    async def answer(data: Data) -> Any:
        if data.value == "no":
            raise ValueError("a secret in an error")
        return data.value

    flow.to(answer).end()
    return flow


def parent(inner: TriggerFlow) -> TriggerFlow:
    """Runs another flow as a step."""
    flow = TriggerFlow("parent")
    flow.to_sub_flow(inner).end()
    return flow


def counter(pause: float = 0.0) -> TriggerFlow:
    """Counts into the stream up to what it was started with."""
    flow = TriggerFlow("counter")

    @flow.chunk("count")
    async def count(data: Data) -> int:
        for number in range(1, data.value + 1):
            if pause:
                await asyncio.sleep(pause)
            await data.async_put_into_stream(number)
        return data.value

    flow.to(count).end()
    return flow


def listener() -> TriggerFlow:
    """Waits for signals, and keeps what they carry."""
    flow = TriggerFlow("listener")
    flow.signal("note", str, external=True)

    @flow.chunk("keep")
    async def keep(data: Data) -> None:
        await data.state.async_append("notes", data.value)

    flow.when("note").to(keep)
    return flow
