"""How long after the character that closes a field its chunk starts, against a hop through a queue to a new task.

    python -m bench.dispatch            # 10,000 fields, about 10 s
    python -m bench.dispatch --fields 2000

A source gives an answer, each piece up to the character that proves a field, and waits until the chunk of that field
has started. After each field, the same loop makes one hop: an item is put into an `asyncio.Queue`, its reader makes a
new task for it, and the task starts. So whatever slows the machine slows both. Times are wall time, in microseconds.
The command fails if the 99th percentile of a dispatch is more than 5 times that of a hop.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from msgspec import Struct

from triggerflow import TriggerFlow
from triggerflow.models import Response

BUDGET = 5.0
"""The most that a dispatch may take at the 99th percentile, in hops."""
clock = time.perf_counter


class Step(Struct):
    """A field of the answer."""

    name: str
    minutes: int


class Plan(Struct):
    """The answer."""

    steps: list[Step]


class Fields:
    """An answer of `count` fields, with the time from the proof of each to the start of its chunk."""

    def __init__(self, count: int, hop: Callable[[], Awaitable[None]]) -> None:
        self.count = count
        self.hop = hop
        self.times: list[float] = []
        self.proved = 0.0
        self.started = asyncio.Event()

    def start(self) -> None:
        """The chunk of a field has started."""
        self.times.append(clock() - self.proved)
        self.started.set()

    async def source(self) -> AsyncGenerator[str, None]:
        """The answer: the closing brace of each step is the last character of a piece."""
        yield '{"steps": [{"name": "the first step", "minutes": 1'
        for number in range(self.count):
            self.started.clear()
            self.proved = clock()
            yield "}"
            await self.started.wait()
            await self.hop()
            if number + 1 < self.count:
                yield f', {{"name": "step number {number}", "minutes": {number}'
        yield "]}"


class Hops:
    """Hops through a queue to a new task, with the time of each."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.queue: asyncio.Queue[float] = asyncio.Queue()
        self.done = asyncio.Event()

    async def read(self) -> None:
        """The reader of the queue: a task for each item."""
        while True:
            put = await self.queue.get()
            task = asyncio.create_task(self.handle(put))
            await task

    async def handle(self, put: float) -> None:
        """The task of an item."""
        self.times.append(clock() - put)
        self.done.set()

    async def hop(self) -> None:
        """Make one."""
        self.done.clear()
        self.queue.put_nowait(clock())
        await self.done.wait()


def emitting(fields: Fields) -> TriggerFlow:
    """A flow with a signal for each field."""
    flow = TriggerFlow(name="emitting")

    @flow.chunk("plan")
    async def plan(data: Any) -> None:
        await data.async_emit_fields(Response(fields.source, output=Plan, stall_timeout=None), {"steps[*]": "step"})

    @flow.chunk("work")
    async def work(data: Any) -> None:
        fields.start()

    flow.to(plan)
    flow.when("step").to(work)
    return flow


def giving(fields: Fields) -> TriggerFlow:
    """A flow with a for_each over the fields."""
    flow = TriggerFlow(name="giving")

    @flow.chunk("plan")
    async def plan(data: Any) -> Any:
        return Response(fields.source, output=Plan, stall_timeout=None).fields("steps[*]")

    @flow.chunk("work")
    async def work(data: Any) -> None:
        fields.start()

    flow.to(plan).for_each().to(work).end_for_each().end()
    return flow


def percentile(times: list[float], share: float) -> float:
    """In microseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1e6


async def measure(make: Callable[[Fields], TriggerFlow], count: int) -> tuple[list[float], list[float]]:
    """The times of `count` dispatches and of as many hops."""
    hops = Hops()
    fields = Fields(count, hops.hop)
    reader = asyncio.create_task(hops.read())
    await make(fields).async_start()
    reader.cancel()
    assert len(fields.times) == len(hops.times) == count
    return fields.times, hops.times


def main() -> int:
    """Measure both ways, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fields", type=int, default=10_000, help="how many fields each answer has")
    count = parser.parse_args().fields
    print(f"{count:,} fields, wall time in microseconds\n")
    print(f"{'':<34}{'p50':>8}{'p99':>8}{'hop p50':>10}{'hop p99':>10}{'p99 / hop p99':>16}")
    met = True
    for name, make in (("async_emit_fields to a chunk", emitting), ("response.fields into for_each", giving)):
        asyncio.run(measure(make, min(count, 200)))  # warm up
        gc.collect()
        gc.freeze()
        fields, hops = asyncio.run(measure(make, count))
        ratio = percentile(fields, 0.99) / percentile(hops, 0.99)
        met = met and ratio <= BUDGET
        figures = [percentile(times, share) for times in (fields, hops) for share in (0.5, 0.99)]
        cells = f"{figures[0]:>8.1f}{figures[1]:>8.1f}{figures[2]:>10.1f}{figures[3]:>10.1f}{ratio:>16.2f}"
        print(f"{name:<34}{cells}  {'ok' if ratio <= BUDGET else 'MISS'} (<= {BUDGET:g})")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
