"""How long after the character that closes a field its chunk starts, against a hop through a queue to a new task.

    python -m bench.dispatch            # 5 rounds of 10,000 fields, about 20 s
    python -m bench.dispatch --fields 2000 --rounds 3

A source gives an answer, each piece up to the character that proves a field, and waits until the chunk of that field
has started. After each field, the same loop makes one hop: an item is put into an `asyncio.Queue`, its reader makes a
new task for it, and the task starts. So whatever slows the machine slows both.

Times are in microseconds, of the round with the lowest 99th percentile. *cpu* is CPU time of the process. Nothing waits
in between, so on an idle machine it is the same as *wall* time; on a busy one, other processes interrupt the longer of
the two more often, which says nothing about either. The command fails if the 99th percentile of a dispatch is more than
5 times that of a hop, in CPU time.
"""

import argparse
import asyncio
import gc
import sys
import time
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from triggerflow import TriggerFlow
from triggerflow.models import Response

BUDGET = 5.0
"""The most that a dispatch may take at the 99th percentile, in hops."""


class Times:
    """Times on both clocks, in seconds: CPU time of the process, and wall time. Floats in arrays give the garbage
    collector nothing to do, which would be part of what is measured."""

    def __init__(self) -> None:
        self.cpu = array("d")
        self.wall = array("d")
        self._begun = 0.0, 0.0

    def begin(self) -> None:
        """A time begins."""
        self._begun = time.process_time(), time.perf_counter()

    def end(self) -> None:
        """It ends."""
        self.wall.append(time.perf_counter() - self._begun[1])
        self.cpu.append(time.process_time() - self._begun[0])


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
        self.times = Times()
        self.started = asyncio.Event()

    def start(self) -> None:
        """The chunk of a field has started."""
        self.times.end()
        self.started.set()

    async def source(self) -> AsyncGenerator[str, None]:
        """The answer: the closing brace of each step is the last character of a piece."""
        yield '{"steps": [{"name": "the first step", "minutes": 1'
        for number in range(self.count):
            self.started.clear()
            self.times.begin()
            yield "}"
            await self.started.wait()
            await self.hop()
            if number + 1 < self.count:
                yield f', {{"name": "step number {number}", "minutes": {number}'
        yield "]}"


class Hops:
    """Hops through a queue to a new task, with the time of each."""

    def __init__(self) -> None:
        self.times = Times()
        self.queue: asyncio.Queue[int] = asyncio.Queue()
        self.done = asyncio.Event()

    async def read(self) -> None:
        """The reader of the queue: a task for each item."""
        while True:
            task = asyncio.create_task(self.handle(await self.queue.get()))
            await task

    async def handle(self, item: int) -> None:
        """The task of an item."""
        self.times.end()
        self.done.set()

    async def hop(self) -> None:
        """Make one."""
        self.done.clear()
        self.times.begin()
        self.queue.put_nowait(1)
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


def percentile(times: Sequence[float], share: float) -> float:
    """In microseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1e6


async def measure(make: Callable[[Fields], TriggerFlow], count: int) -> tuple[Times, Times]:
    """The times of `count` dispatches and of as many hops."""
    hops = Hops()
    fields = Fields(count, hops.hop)
    reader = asyncio.create_task(hops.read())
    await make(fields).async_start()
    reader.cancel()
    assert len(fields.times.cpu) == len(hops.times.cpu) == count
    return fields.times, hops.times


def main() -> int:
    """Measure both ways, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fields", type=int, default=10_000, help="how many fields each answer has")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    options = parser.parse_args()
    count, rounds = options.fields, options.rounds
    print(f"{count:,} fields, microseconds, best of {rounds} rounds\n")
    print(f"{'':<30}{'clock':<6}{'p50':>8}{'p99':>8}{'hop p50':>10}{'hop p99':>10}{'p99 / hop p99':>16}")
    met = True
    for name, make in (("async_emit_fields to a chunk", emitting), ("response.fields into for_each", giving)):
        asyncio.run(measure(make, min(count, 200)))  # warm up
        gc.collect()
        gc.freeze()
        taken = [asyncio.run(measure(make, count)) for _ in range(rounds)]
        for clock in ("cpu", "wall"):
            series = [[getattr(times, clock) for times in pair] for pair in taken]
            fields, hops = (min(times, key=lambda it: percentile(it, 0.99)) for times in zip(*series, strict=True))
            ratio = percentile(fields, 0.99) / percentile(hops, 0.99)
            p50, p99, hop50, hop99 = (percentile(times, share) for times in (fields, hops) for share in (0.5, 0.99))
            verdict = ""
            if clock == "cpu":
                verdict = f"{'ok' if ratio <= BUDGET else 'MISS'} (<= {BUDGET:g})"
                met = met and ratio <= BUDGET
            row = f"{name:<30}{clock:<6}{p50:>8.1f}{p99:>8.1f}{hop50:>10.1f}{hop99:>10.1f}{ratio:>16.2f}  {verdict}"
            print(row.rstrip())
            name = ""
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
