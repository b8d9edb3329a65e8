"""The flow that the tests of history run: it streams, fans out, asks a person, and has a sub-flow where asked for."""

from typing import Any

from triggerflow import TriggerFlow

WORDS = ["solar ", "sails ", "are ", "thin"]


def brief(name: str = "brief") -> TriggerFlow:
    """Plan, search twice, write; a fixed number of records."""
    flow = TriggerFlow(name=name)

    @flow.chunk("plan")
    async def plan(data: Any) -> list[str]:
        for word in WORDS:
            await data.async_put_into_stream({"stage": "plan", "delta": word})
        data.state.set("topic", data.value)
        return [f"{data.value} history", f"{data.value} physics"]

    @flow.chunk("search", concurrency=1)
    async def search(data: Any) -> str:
        await data.async_put_into_stream({"found": data.value})
        return data.value.upper()

    @flow.chunk("write")
    async def write(data: Any) -> dict[str, Any]:
        return {"text": " / ".join(data.value), "topic": data.state.get("topic")}

    flow.to(plan).for_each().to(search).end_for_each().to(write).end()
    return flow


def asking(name: str = "asking") -> TriggerFlow:
    """Puts items, asks, and goes on with the answer."""
    flow = TriggerFlow(name=name)

    @flow.chunk("draft")
    async def draft(data: Any) -> Any:
        await data.async_put_into_stream(f"draft of {data.value}")
        data.state.set("title", data.value)
        return await data.async_pause_for(type="approval", payload={"draft": data.value}, interrupt_id="approve")

    @flow.chunk("publish")
    async def publish(data: Any) -> str:
        await data.async_put_into_stream(f"published: {data.value}")
        return f"{data.state.get('title')}: {data.value}"

    flow.to(draft).to(publish).end()
    return flow


def with_sub_flow() -> tuple[TriggerFlow, TriggerFlow]:
    """A flow whose middle step is `asking`, and that step's flow."""
    inner, flow = asking("inner"), TriggerFlow(name="outer")

    @flow.chunk("before")
    async def before(data: Any) -> Any:
        return data.value

    @flow.chunk("after")
    async def after(data: Any) -> str:
        return f"<{data.value}>"

    flow.to(before).to_sub_flow(inner, name="inner").to(after).end()
    return flow, inner
