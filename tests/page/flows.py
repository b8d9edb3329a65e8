"""The flows that the tests of the page serve."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]

#: How many words the brief streams.
WORDS = 40
#: What a browser must show as text. Each would set `window.hit`, or ask for something, if it did not.
SCRIPT = "<script>window.hit = 1</script>"
IMAGE = '<img src="/hit.png" onerror="window.hit = 1">'
LINK = "javascript:window.hit=1"
HOSTILE = f"{SCRIPT}{IMAGE}"


@dataclass
class Wish:
    """What a brief is written about."""

    topic: str
    sources: int = 4
    careful: bool = False


@dataclass
class Decision:
    """What a person says of a brief."""

    verdict: Literal["publish", "rework"]
    note: str = ""
    copies: int = 1


def brief(pace: float = 0.02) -> TriggerFlow:
    """Streams words, searches with a retry, asks a question with several fields, and publishes."""
    flow = TriggerFlow("brief")
    flow.register_type(Wish)
    flow.register_type(Decision)
    flow.set_contract(initial_input=Wish)

    @flow.chunk("plan")
    async def plan(data: Data) -> list[int]:
        data.state.set("topic", data.value.topic)
        for number in range(1, WORDS + 1):
            await data.async_put_into_stream({"delta": f"w{number} "})
            await asyncio.sleep(pace)
        return list(range(data.value.sources))

    @flow.chunk("search", retry=Retry(attempts=3, initial_interval=0.1, jitter=0))
    async def search(data: Data) -> int:
        await asyncio.sleep(pace)
        if data.value == 1 and data.attempt == 1:
            raise ConnectionError("the index is busy")
        await data.state.async_append("found", data.value)
        return data.value * 3

    @flow.chunk("facts")
    async def facts(data: Data) -> int:
        await asyncio.sleep(pace)
        return sum(data.value)

    @flow.chunk("risks")
    async def risks(data: Data) -> list[str]:
        await asyncio.sleep(pace)
        return ["dust", "cold"]

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        payload = {"question": "Publish this brief?", **data.value}
        data.pause_for(type="approval", payload=payload, interrupt_id="approve", schema=Decision)

    @flow.chunk("publish")
    async def publish(data: Data) -> str:
        await data.async_put_into_stream({"published": data.state.get("topic")})
        return f"{data.state.get('topic')}: {data.value.verdict}"

    flow.to(plan).for_each(concurrency=2).to(search).end_for_each().batch(facts, risks).to(ask).to(publish).end()
    return flow


def approval() -> TriggerFlow:
    """Asks at once, yes or no."""
    flow = TriggerFlow("approval")
    flow.set_contract(initial_input=str)

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        data.state.set("order", data.value)
        data.pause_for(type="approval", payload=f"Pay {data.value}?", interrupt_id="pay", schema=bool)

    @flow.chunk("pay")
    async def pay(data: Data) -> str:
        return f"{data.state.get('order')}: {'paid' if data.value else 'refused'}"

    flow.to(ask).to(pay).end()
    return flow


def until(name: str = "until") -> TriggerFlow:
    """Runs until the file is there that it was started with."""
    flow = TriggerFlow(name)

    @flow.chunk("look")
    async def look(data: Data) -> str:
        await data.async_put_into_stream("looking")
        while not Path(data.value).exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.02)
        return "it is there"

    flow.to(look).end()
    return flow


def flaky() -> TriggerFlow:
    """Fails as long as the file is not there that it was started with."""
    flow = TriggerFlow("flaky")

    @flow.chunk("prepare")
    async def prepare(data: Data) -> str:
        data.state.set("prepared", True)
        return data.value

    @flow.chunk("send")
    async def send(data: Data) -> str:
        if not Path(data.value).exists():  # noqa: ASYNC240 - a test makes it
            raise ConnectionError("the printer is out of paper")
        return "sent"

    flow.to(prepare).to(send).end()
    return flow


def outer(inner: TriggerFlow) -> TriggerFlow:
    """Has another flow as a step."""
    flow = TriggerFlow("outer")

    @flow.chunk("before")
    async def before(data: Data) -> Any:
        return data.value

    flow.to(before).to_sub_flow(inner).end()
    return flow


def hostile() -> TriggerFlow:
    """Says, asks, keeps and returns what would run if it were not shown as text."""
    flow = TriggerFlow(f"hostile {HOSTILE}")

    @flow.chunk(f"say {HOSTILE}")
    async def say(data: Data) -> Any:
        long = "x" * 1_000_000
        data.state.set(HOSTILE, HOSTILE)
        data.state.set("long", long)
        data.state.set("__proto__", {"__proto__": {"polluted": True}, "constructor": LINK})
        await data.async_put_into_stream(HOSTILE)
        await data.async_put_into_stream({"delta": HOSTILE})
        await data.async_put_into_stream({HOSTILE: [LINK, {"href": LINK, "__html": HOSTILE}]})
        await data.async_put_into_stream(long)
        await data.async_put_into_stream("\u202eright to left\u0000\u0007 \ud7ff")
        await data.async_put_into_stream(
            {"dangerouslySetInnerHTML": {"__html": HOSTILE}, "type": "script", "props": {}}
        )
        data.pause_for(
            type=HOSTILE,
            payload={"question": HOSTILE, "long": long, HOSTILE: LINK},
            interrupt_id=f"q {HOSTILE}",
            schema=bool,
        )

    @flow.chunk(f"fail {HOSTILE}")
    async def fail(data: Data) -> Any:
        raise ValueError(f"{HOSTILE} {data.value} " + "y" * 100_000)

    flow.to(say).to(fail).end()
    return flow


def many() -> TriggerFlow:
    """A for_each over as many items as it was started with; each thousandth puts an item into the stream."""
    flow = TriggerFlow("many")

    @flow.chunk("split")
    async def split(data: Data) -> list[int]:
        return list(range(data.value))

    @flow.chunk("work")
    async def work(data: Data) -> int:
        if data.value % 1000 == 0:
            await data.async_put_into_stream({"reached": data.value})
        return data.value

    @flow.chunk("sum")
    async def total(data: Data) -> int:
        return len(data.value)

    flow.to(split).for_each(concurrency=50).to(work).end_for_each().to(total).end()
    return flow


def patient(pause: float = timedelta(days=1).total_seconds()) -> TriggerFlow:
    """Tries a second time after a day."""
    flow = TriggerFlow("patient")

    @flow.chunk("prepare")
    async def prepare(data: Data) -> Any:
        await asyncio.sleep(1)
        return data.value

    @flow.chunk("call", retry=Retry(attempts=2, initial_interval=pause, maximum_interval=pause, jitter=0))
    async def call(data: Data) -> str:
        await asyncio.sleep(2)
        if data.attempt == 1:
            raise TimeoutError("nobody answers")
        return "answered"

    @flow.chunk("note")
    async def note(data: Data) -> Any:
        await asyncio.sleep(1)
        return data.value

    flow.to(prepare).to(call).to(note).end()
    return flow


def talker() -> TriggerFlow:
    """Puts as many items into the stream as it was started with: two frames each, with a change of state."""
    flow = TriggerFlow("talker")

    @flow.chunk("talk")
    async def talk(data: Data) -> int:
        for number in range(data.value):
            data.state.set("count", number)
            await data.async_put_into_stream({"number": number})
        return data.value

    flow.to(talk).end()
    return flow


def everything() -> list[TriggerFlow]:
    """All of them."""
    return [brief(), approval(), until(), flaky(), outer(approval()), hostile(), many(), patient(), talker()]
