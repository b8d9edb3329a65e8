"""The flow whose saved execution is in `saved.json`: failures that are collected, missing and at a route."""

import asyncio
from typing import Any

from triggerflow import TriggerFlow


def failing() -> TriggerFlow:
    flow = TriggerFlow("failing", skip_exceptions=True)

    async def work(data: Any) -> Any:
        if data.value == 1:
            raise ValueError(f"no {data.value}")
        return data.value

    async def ask(data: Any) -> Any:
        return data.pause_for(interrupt_id=str(data.value))

    async def breaks(data: Any) -> Any:
        raise ConnectionError("carrier down")

    async def escalate(data: Any) -> Any:
        return data.pause_for(interrupt_id="director")

    # Item 1 fails and is collected; item 2 waits.
    item = flow.for_each(on_error="collect").to(("work", work)).to(("ask", ask)).end_for_each()
    item.to(("listed", lambda data: data.state.set("items", data.value)))
    # One branch is missing, the other one waits.
    flow.batch(("breaks", breaks), ("wait", lambda data: data.pause_for(interrupt_id="batch"))).to(
        ("never", lambda data: data.state.set("never", True))
    )
    # A route waits; what fails after it has the other route.
    flow.to(("first", breaks))
    flow.when({"error": "first"}).to(("escalate", escalate)).to(("again", breaks))
    flow.on_error(("undo", lambda data: data.state.append("undone", data.value["chunk"])))
    return flow


async def at_rest(execution: Any) -> None:
    """Let it run until all that is left waits for an answer."""
    execution.begin([1, 2])
    while len(execution.get_pending_interrupts()) < 3:  # noqa: ASYNC110 - chunks may run in threads
        await asyncio.sleep(0.01)
