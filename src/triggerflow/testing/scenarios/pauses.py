"""Scenarios with interrupts, and their answers from outside."""

import asyncio
from typing import Any

from ...flow import TriggerFlow
from .scenario import Outside, call, give, scenario


async def _yes(outside: Outside) -> None:
    await outside.answer("q", "yes")


@scenario(value="draft", outside=_yes, result="yes!", stream=("asking", ["pause", "q"], ["resume", "q"]))
def pause(flow: TriggerFlow) -> None:
    """The answer goes to the next step."""

    async def ask(data: Any) -> None:
        await data.async_put_into_stream("asking")
        await data.async_pause_for(payload=data.value, interrupt_id="q", schema=str)

    async def go_on(data: Any) -> str:
        return data.value + "!"

    flow.to(ask).to(go_on).end()


async def _until_good(outside: Outside) -> None:
    await outside.answer("q1", "bad")
    await outside.answer("q2", "good")


_ASKED = (["pause", "q1"], ["resume", "q1"], ["pause", "q2"], ["resume", "q2"])


@scenario(value="draft", outside=_until_good, result="good after 2", stream=_ASKED, state={"answers": ["bad", "good"]})
def pause_again(flow: TriggerFlow) -> None:
    """The answer goes to the chunk that opened the interrupt, which opens another one."""

    async def ask(data: Any) -> str:
        if data.resume is not None:
            data.state.append("answers", data.value)
        count = len(data.state.get("answers", ()))
        if data.value != "good":
            data.pause_for(interrupt_id=f"q{count + 1}", resume_to="self")
        return f"good after {count}"

    flow.to(ask).end()


@scenario(value=None, outside=_yes, result="heard yes", stream=(["pause", "q"], ["resume", "q"]))
def pause_event(flow: TriggerFlow) -> None:
    """The answer is emitted as an event."""

    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id="q", resume_event="answered")

    flow.to(ask)
    flow.when("answered").to(call("hear", "heard {}".format)).end()


async def _three(outside: Outside) -> None:
    for number in (2, 0, 1):
        await outside.answer(f"q{number}", number * 10)


@scenario(
    value=[0, 1, 2],
    outside=_three,
    result=[0, 10, 20],
    stream=tuple([action, f"q{number}"] for action in ("pause", "resume") for number in range(3)),
    ordered=False,
    state={"beside": "done"},
)
def pause_in_for_each(flow: TriggerFlow) -> None:
    """Several interrupts are open at once, and are answered in another order, while another branch continues."""

    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id=f"q{data.value}")

    async def beside(data: Any) -> None:
        await asyncio.sleep(3)
        data.state.set("beside", "done")

    flow.side_branch(beside).for_each(concurrency=3).to(ask).end_for_each().end()


@scenario(value=None, result="nobody", stream=(["pause", "q"], ["expired", "q"]))
def pause_expires(flow: TriggerFlow) -> None:
    """No answer comes in time: the chunk takes its error route."""

    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id="q", expires=60)

    flow.to(ask).end()
    flow.when({"error": "ask"}).to(give("nobody")).end()
