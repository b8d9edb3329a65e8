"""Executions to watch, as a user would have them: they wait, work on many items, fail, recover, and end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from triggerflow import Retry, TriggerFlow
from triggerflow.backend import Answer, StoreBackend
from triggerflow.durable import Worker
from triggerflow.stores import MemoryData, MemoryStore
from triggerflow.testing import ManualClock

LEASE = 5.0
TEXT = (
    "Solar sails are thrust by light alone. ",
    "A sheet of foil, thinner than a hair, ",
    "catches the push of photons; ",
    "it is faint, but it never ends.\n",
    "After a year the craft is faster ",
    "than any rocket that burns its fuel.",
)


def report() -> TriggerFlow:
    """Writes a draft piece by piece, asks whether it may be published, and publishes it."""
    flow = TriggerFlow("report")

    @flow.chunk("search")
    async def search(data: Any) -> Any:
        await asyncio.sleep(1.2)
        return ["NASA", "ESA", "JAXA"]

    @flow.chunk("draft")
    async def draft(data: Any) -> Any:
        for text in TEXT:
            for piece in text.replace(" ", " \0").split("\0"):
                await asyncio.sleep(0.08)
                await data.async_put_into_stream({"field": "draft", "delta": piece})
        return "".join(TEXT)

    @flow.chunk("approve")
    async def approve(data: Any) -> None:
        asked = {"title": "Solar sails", "words": len(data.value.split()), "channel": "newsletter"}
        data.pause_for(type="approval", payload=asked, schema=bool, interrupt_id="publish?")

    @flow.chunk("publish")
    async def publish(data: Any) -> Any:
        await asyncio.sleep(0.4)
        return {"published": data.value, "url": "https://example.org/solar-sails"}

    flow.to(search).to(draft).to(approve).to(publish).end()
    return flow


def crawl(count: int = 200) -> TriggerFlow:
    """Lists pages, reads each of them, eight at once, and sums up. Some pages are slow, some fail for good."""
    flow = TriggerFlow("crawl")

    @flow.chunk("list pages")
    async def pages(data: Any) -> Any:
        await asyncio.sleep(0.8)
        return [f"https://example.org/page/{number}" for number in range(1, count + 1)]

    @flow.chunk("fetch", retry=Retry(2, initial_interval=0.5, jitter=0), fallback=None)
    async def fetch(data: Any) -> Any:
        number = int(data.value.rsplit("/", 1)[1])
        await asyncio.sleep(0.2 + number * 37 % 11 / 10)
        if number % 17 == 0 and data.attempt == 1:
            raise ConnectionError("the connection was reset by the server")
        return number

    @flow.chunk("parse")
    async def parse(data: Any) -> Any:
        await asyncio.sleep(0.1)
        if data.value % 50 == 7:
            raise ValueError(f"page {data.value} has no title")
        return data.value

    @flow.chunk("summary")
    async def summary(data: Any) -> Any:
        await asyncio.sleep(1)
        return {"pages": len(data.value)}

    each = flow.to(pages).for_each(concurrency=8, on_error="collect")
    each.to(fetch).to(parse).end_for_each().to(summary).end()
    return flow


def payment() -> TriggerFlow:
    """Charges a card: the bank is busy twice, then declines."""
    flow = TriggerFlow("payment")

    @flow.chunk("reserve")
    async def reserve(data: Any) -> Any:
        await asyncio.sleep(0.5)
        await data.async_put_into_stream("reserved 3 seats in row 12")
        return data.value

    @flow.chunk("charge", retry=Retry(3, initial_interval=1, jitter=0))
    async def charge(data: Any) -> Any:
        await asyncio.sleep(0.7)
        if data.attempt < 3:
            await data.async_put_into_stream(f"the bank is busy, attempt {data.attempt} of 3")
            raise TimeoutError("the bank did not answer within 0.7 s")
        raise PermissionError("card declined: insufficient funds")

    @flow.chunk("ship")
    async def ship(data: Any) -> Any:
        return data.value

    flow.to(reserve).to(charge).to(ship).end()
    return flow


def trip() -> tuple[TriggerFlow, TriggerFlow]:
    """Books a flight and a hotel; the hotel is a flow of its own."""
    hotel = TriggerFlow("hotel")

    @hotel.chunk("find rooms")
    async def rooms(data: Any) -> Any:
        await asyncio.sleep(0.6)
        await data.async_put_into_stream("3 rooms found")
        return data.value

    @hotel.chunk("hold a room")
    async def hold(data: Any) -> Any:
        await asyncio.sleep(1.5)
        return "room 12"

    hotel.to(rooms).to(hold).end()
    flow = TriggerFlow("trip")

    @flow.chunk("flight")
    async def flight(data: Any) -> Any:
        await asyncio.sleep(0.5)
        return data.value

    @flow.chunk("invoice")
    async def invoice(data: Any) -> Any:
        await asyncio.sleep(0.3)
        return f"booked {data.value}"

    flow.to(flight).to(hotel).to(invoice).end()
    return flow, hotel


@asynccontextmanager
async def running(*flows: TriggerFlow, value: Any = None, id: str) -> AsyncIterator[StoreBackend]:
    """A backend over a store in memory where an execution of the first flow was started, and is run."""
    async with MemoryStore() as store, Worker(store, *flows):
        backend = StoreBackend(store, *flows)
        await backend.start(flows[0].name, value, id=id)
        yield backend


@asynccontextmanager
async def crashed(flow: TriggerFlow, *, id: str, after: float) -> AsyncIterator[StoreBackend]:
    """The same, where the process that ran it has died after so many seconds, and another one goes on."""
    data, clock = MemoryData(), ManualClock()
    async with AsyncExitStack() as stack:
        watching = await stack.enter_async_context(MemoryStore(data, lease=LEASE, clock=clock))
        backend = StoreBackend(watching, flow)
        await backend.start(flow.name, None, id=id)
        dying = await stack.enter_async_context(MemoryStore(data, lease=LEASE, clock=clock))
        worker = Worker(dying, flow)
        await worker.__aenter__()
        await asyncio.sleep(after)
        dying.crash()
        await worker.__aexit__(None, None, None)
        await asyncio.sleep(LEASE + 1)
        clock.turn(LEASE + 1)
        next_one = await stack.enter_async_context(MemoryStore(data, lease=LEASE, clock=clock))
        async with Worker(next_one, flow):
            yield backend


@asynccontextmanager
async def answering(backend: StoreBackend, id: str, value: Any, *, after: float) -> AsyncIterator[None]:
    """Meanwhile somebody answers the first question, so many seconds after it was asked."""

    async def answer() -> None:
        async for frame in backend.frames(id, follow=True):
            if frame.questions:
                await asyncio.sleep(after)
                await backend.act(id, Answer(question=frame.questions[0].id, value=value))
                return

    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        task.cancel()
