"""Stores with executions of all sorts, made in virtual time: what takes a day here takes no time."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.page.flows import everything
from tests.virtual_time import virtual_loop, wall_clock
from triggerflow.backend import Answer, Cancel, StoreBackend
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

DAY = 86_400.0
NEVER = "/nonexistent/file"


class Filler:
    """Starts executions in a store, and waits until they are as they should be."""

    def __init__(self, backend: StoreBackend) -> None:
        self.backend = backend

    async def start(self, flow: str, value: Any, id: str, **labels: str) -> str:
        name = next(it.name for it in everything() if it.name.split()[0] == flow)
        await self.backend.start(name, value, id=id, labels=labels)
        return id

    async def until(self, id: str, *statuses: str) -> str:
        while (await self.backend.get(id)).status not in statuses:  # noqa: ASYNC110 - as a stranger would
            await asyncio.sleep(0.05)
        return id

    async def answer(self, id: str, question: str, value: Any) -> None:
        await self.backend.act(id, Answer(question=question, value=value))

    async def asked(self, flow: str, value: Any, id: str, **labels: str) -> str:
        """Start one that asks something, and wait for the question."""
        return await self.until(await self.start(flow, value, id, **labels), "waiting")

    async def ended(self, flow: str, value: Any, id: str, **labels: str) -> str:
        """Start one that ends by itself."""
        await self.start(flow, value, id, **labels)
        while not (await self.backend.result(id, wait=300)).ended:
            pass
        return id


Part = Callable[[Filler], Awaitable[None]]


@asynccontextmanager
async def _filler(file: Path) -> Any:
    flows = everything()
    async with SQLiteStore(file, synchronous="NORMAL") as store, Worker(store, *flows):
        yield Filler(StoreBackend(store, *flows))


def fill(file: Path, *parts: "Part | float", ago: float = 0.0) -> None:
    """Fill a store; it begins so many seconds ago. Each part has a worker of its own, a number is seconds that pass
    while none is there."""

    async def run(part: Part) -> None:
        async with _filler(file) as filler:
            await part(filler)

    def work(part: Part) -> None:
        with asyncio.Runner(loop_factory=virtual_loop) as runner:
            runner.run(run(part))

    wall_clock.reset()
    wall_clock.jumped = -ago
    try:
        for part in parts:
            if isinstance(part, float):
                wall_clock.jumped += part
            else:
                with ThreadPoolExecutor(1) as thread:  # in that of a test Playwright's loop runs
                    thread.submit(work, part).result()
    finally:
        wall_clock.reset()


async def first_attempt(filler: Filler) -> None:
    """Fails, and is tried again after a day."""
    await filler.start("patient", "a letter", "letter-1")
    while all(it.phase != "backoff" for it in (await filler.backend.state_at("letter-1")).runs):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def second_attempt(filler: Filler) -> None:
    """The day has passed."""
    await filler.until("letter-1", "completed")


def old(number: int, topic: str, verdict: str) -> "Part":
    """A brief of the days before."""

    async def part(filler: Filler) -> None:
        await filler.asked("brief", {"topic": topic}, f"brief-{number}", team="deck", month="10")
        await asyncio.sleep(90)
        await filler.answer(f"brief-{number}", "approve", {"verdict": verdict})
        await filler.until(f"brief-{number}", "completed")

    return part


async def all_sorts(filler: Filler) -> None:
    """One of each status."""
    await filler.ended("flaky", NEVER, "printer-7", team="office")
    await filler.asked("approval", "a boat", "boat-1", team="deck")
    await filler.answer("boat-1", "pay", True)
    await filler.asked("approval", "a harbour", "harbour-1")
    await filler.asked("outer", "a flag", "flag-1")
    await filler.asked("brief", {"topic": "solar sails", "sources": 7}, "sails-1", team="deck", priority="high")
    await filler.asked("approval", "a whale", "whale-1")
    await filler.backend.act("whale-1", Cancel(reason="nobody needs a whale"))
    await filler.ended("many", 40, "many-40")


async def at_work(filler: Filler) -> None:
    """Some that run on and on."""
    await filler.start("until", NEVER, "looking-1", team="watch")
    await filler.start("until", NEVER, "looking-2")
    await asyncio.sleep(0.2)


async def hostile(filler: Filler) -> None:
    """What would run if it were not shown as text."""
    await filler.asked("hostile", "x", "hostile-1")


def large(items: int, words: int) -> Part:
    """A for_each over many items, and a stream of many."""

    async def part(filler: Filler) -> None:
        await filler.ended("many", items, f"many-{items}")
        await filler.ended("talker", words, f"talker-{words}")

    return part


def crowd(count: int) -> Part:
    """Many executions, with labels, which nobody has run yet."""

    async def part(filler: Filler) -> None:
        teams: Iterable[str] = itertools.cycle(["deck", "office", "watch"])
        for number, team in zip(range(count), teams, strict=False):
            await filler.start("approval", f"boat {number}", f"crowd-{number:05}", team=team)

    return part
