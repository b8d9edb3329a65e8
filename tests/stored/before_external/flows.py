"""The flows whose executions stand in this folder, written as they were before events could be declared external."""

from typing import Any

from triggerflow import TriggerFlow

WAYS = ("literal", "helper")


async def tell(data: Any, name: str) -> None:
    """A helper: what it emits does not show in the code of the chunk that calls it."""
    await data.async_emit(name, data.value)


def approval() -> TriggerFlow:
    """It listens to an event that no chunk emits."""
    flow = TriggerFlow(name="approval")

    @flow.chunk("ask")
    async def ask(data: Any) -> Any:
        await data.async_put_into_stream(f"may we publish {data.value}?")
        return data.value

    @flow.chunk("publish")
    async def publish(data: Any) -> Any:
        return f"{data.value} said yes"

    flow.to(ask)
    flow.when("approved").to(publish).end()
    return flow


def check(way: str) -> TriggerFlow:
    """It emits an event for large values only, in the chunk itself or in a helper."""
    flow = TriggerFlow(name="check")

    async def literal(data: Any) -> None:
        await data.async_emit("go on")
        if data.value > 10:
            await data.async_emit("big", data.value)

    async def helped(data: Any) -> None:
        await data.async_emit("go on")
        if data.value > 10:
            await tell(data, "big")

    @flow.chunk("wait")
    async def wait(data: Any) -> None:
        data.pause_for(interrupt_id="go on?")

    @flow.chunk("handle")
    async def handle(data: Any) -> Any:
        return f"big: {data.value}"

    flow.to(flow.chunk("check")(literal if way == "literal" else helped))
    flow.when("go on").to(wait)
    flow.when("big").to(handle).end()
    return flow


def talk() -> TriggerFlow:
    """It has no result; half of a join is filled, and one event it emits itself under a computed name."""
    flow = TriggerFlow(name="talk")

    @flow.chunk("first")
    async def first(data: Any) -> None:
        await data.async_emit("-".join(("step", "1")), data.value)

    @flow.chunk("step")
    async def step(data: Any) -> None:
        data.state.set("step", data.value)

    @flow.chunk("both")
    async def both(data: Any) -> None:
        data.state.set("both", data.value["event"])

    flow.to(first)
    flow.when("step-1").to(step)
    flow.when(["left", "right"]).to(both)
    return flow


def ended() -> TriggerFlow:
    """It ends by itself, with a signal to itself on the way."""
    flow = TriggerFlow(name="ended")

    @flow.chunk("turn")
    async def turn(data: Any) -> None:
        if data.value < 3:
            await data.async_emit("again", data.value + 1)

    flow.to(turn)
    flow.when("again").to(turn)
    return flow
