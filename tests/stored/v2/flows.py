"""The flows whose executions are in `runs.db.gz`, as they were when it was written."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]

#: Set while the files are made: what is said to kill the process does so.
DEADLY = "TRIGGERFLOW_DEADLY"


def approval() -> TriggerFlow:
    """Asks, hears a signal from outside, and gives both back."""
    flow = TriggerFlow(name="approval")
    left = flow.signal("left", external=True)

    async def ask(data: Data) -> None:
        data.state.set("page", data.value)
        data.pause_for(interrupt_id="q", payload={"page": data.value}, schema=int)

    async def approved(data: Data) -> Any:
        return [data.state.get("page"), data.value, data.state.get("left")]

    async def noted(data: Data) -> None:
        data.state.set("left", data.value)

    flow.to(("ask", ask)).to(("approved", approved)).end()
    flow.when(left).to(("noted", noted))
    return flow


def outer() -> TriggerFlow:
    """Its sub-flow asks."""
    flow = TriggerFlow(name="outer")
    flow.to_sub_flow(approval(), name="step").end()
    return flow


def doubling() -> TriggerFlow:
    """Needs nobody."""
    flow = TriggerFlow(name="doubling")

    async def double(data: Data) -> Any:
        await data.async_put_into_stream(data.value)
        return data.value * 2

    flow.to(("double", double)).end()
    return flow


def failing() -> TriggerFlow:
    """Fails, but on a better day."""
    flow = TriggerFlow(name="failing")

    async def work(data: Data) -> Any:
        if data.value == "bad" and os.environ.get(DEADLY):
            raise ValueError("the day is bad")
        return data.value

    flow.to(("first", work)).to(("second", work)).end()
    return flow


def rate() -> TriggerFlow:
    """Sets the shared rate, and appends to a shared list."""
    flow = TriggerFlow(name="rates")

    async def change(data: Data) -> Any:
        data.flow_state.set("rate", data.value)
        data.flow_state.append("log", data.value)
        return list(data.flow_state.get("log"))

    async def heard(data: Data) -> None:
        data.state.append("heard", data.value)

    async def over(data: Data) -> Any:
        return list(data.state.get("heard", []))

    flow.when({"flow_data": "rate"}).to(("heard", heard))
    flow.when(flow.signal("change", external=True)).to(("change", change)).end()
    flow.when(flow.signal("over", external=True)).to(("over", over)).end()
    return flow


def poison() -> TriggerFlow:
    """A chunk that kills its process, beside a source that does."""
    flow = TriggerFlow(name="poison")

    async def chunk(data: Data) -> Any:
        await _die()
        return data.value

    flow.to(("chunk", chunk)).end()
    return flow


def reading() -> TriggerFlow:
    """A source that gives two items, and kills its process for the third."""
    flow = TriggerFlow(name="reading")

    async def numbers() -> Any:
        yield 1
        yield 2
        await _die()
        yield 3

    source: Callable[..., Any] = flow.source(numbers, name="numbers")

    async def begin(data: Data) -> Any:
        return source()

    async def work(data: Data) -> Any:
        return data.value * 10

    flow.to(("begin", begin)).for_each(concurrency=1).to(("work", work)).end_for_each().end()
    return flow


async def _die() -> None:
    if os.environ.get(DEADLY):
        await asyncio.sleep(0.3)  # what was recorded before is in the store
        os._exit(9)


FLOWS: dict[str, Callable[[], TriggerFlow]] = {
    str(make().name): make for make in (approval, outer, doubling, failing, rate, poison, reading)
}
