"""What 1,000 readers of an execution cost that another process runs: told by the hub of the store, beside polling.

    python -m bench.readers              # about 90 s
    python -m bench.readers --quick      # 200 readers, about 20 s

One process writes numbered items with their time, at irregular intervals. Two other processes have the same number of
readers of them: those of `history.stream` in one, and in the other the loop that they replace, in which each reader
queries the store after 10 ms, 20 ms ... 250 ms. Both read the same items at the same time, so that other load on the
machine slows both. The delay is the time from `put` to the reader; CPU time is that of the whole process. Then both
wait while nothing is written (idle), and last, the readers of the hub are disconnected at random, 1,000 times in all,
and come back with their last number: each item has to come once.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.durable.format.loading import read_items
from triggerflow.durable.format.reader import ExecutionReader
from triggerflow.extension import runtime_of
from triggerflow.stores import SQLiteStore

FIRST_PAUSE, LAST_PAUSE = 0.01, 0.25
SETTLE, IDLE = 3.0, 4.0
RECONNECTS = 1000


def written(count: int, pause: float) -> TriggerFlow:
    """Writes so many items, from the moment on when it is told so."""
    flow = TriggerFlow(name="written")

    @flow.chunk("write")
    async def write(data: Any) -> str:
        await asyncio.to_thread(sys.stdin.readline)
        chance = random.Random(1)
        for number in range(count):
            await data.async_put_into_stream([number, time.time()])
            await asyncio.sleep(chance.uniform(0, 2 * pause))
        await asyncio.sleep(SETTLE + IDLE)
        return "done"

    flow.to(write).end()
    return flow


async def write(path: Path, count: int, pause: float) -> None:
    """The process that runs the execution. It does not wait for the disk, which would be most of the delay."""
    async with SQLiteStore(path, synchronous="NORMAL") as store:
        execution = written(count, pause).create_execution(store=store, id="x")
        print("ready", flush=True)
        await execution.async_start(0)


async def polled(reader: ExecutionReader, id: str) -> AsyncIterator[Any]:
    """The items of an execution, by a loop that asks for them."""
    position, pause = 0, FIRST_PAUSE
    while True:
        page = await read_items(reader.store, id, reader.program.types, position)
        for item in page:
            position, pause = item.number, FIRST_PAUSE
            yield item.item
        row = await reader.row(id)
        if position < row.items:
            continue
        if row.status == "completed":
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)


async def read(path: Path, kind: str, readers: int, count: int) -> None:
    """A process with readers. Prints its figures as JSON."""
    flow = written(count, 0)
    delays: list[float] = []
    async with SQLiteStore(path) as store:
        history = flow.history(store)
        program = runtime_of(flow.create_execution()).program

        async def one() -> int:
            found = 0
            items: Any = history.stream("x") if kind == "hub" else polled(ExecutionReader(program, store), "x")
            async with aclosing(items):
                async for number, at in items:
                    delays.append(time.time() - at)
                    assert number == found
                    found += 1
                    if found == count:
                        break
            return found

        async def wait() -> None:
            """Waits for the end, as all readers do when there are no more items."""
            items: Any = (
                history.stream("x", after=count) if kind == "hub" else polled(ExecutionReader(program, store), "x")
            )
            async with aclosing(items):
                async for _ in items:
                    pass

        reading = [asyncio.create_task(one()) for _ in range(readers)]
        await asyncio.sleep(SETTLE)
        print("ready", flush=True)
        start = time.process_time()
        found = await asyncio.gather(*reading)
        busy = time.process_time() - start
        waiting = [asyncio.create_task(wait()) for _ in range(readers)]
        await asyncio.sleep(SETTLE)
        start, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(IDLE - 1)
        idle = (time.process_time() - start) / (time.perf_counter() - began)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert found == [count] * readers
    delays.sort()
    figures = {
        "p50": statistics.median(delays),
        "p99": delays[int(0.99 * len(delays))],
        "cpu": busy,
        "idle": idle,
        "items": sum(found),
    }
    print(json.dumps(figures), flush=True)


async def reconnect(path: Path, readers: int, count: int) -> None:
    """A process whose readers are disconnected at random. Prints how often, and what was lost or came twice."""
    chance = random.Random(2)
    total = wrong = 0
    async with SQLiteStore(path) as store:
        history = written(count, 0).history(store)

        async def one() -> None:
            nonlocal total, wrong
            got: list[int] = []
            position = 0
            while len(got) < count:
                reader = history.stream("x", after=position)

                async def take(reader: Any = reader) -> None:
                    async for number, _ in reader:
                        got.append(number)

                task = asyncio.create_task(take())
                await asyncio.wait([task], timeout=chance.uniform(0, 0.6))
                if not task.done():
                    total += 1
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                position = reader.position
            wrong += got != list(range(count))

        await asyncio.gather(*[one() for _ in range(readers)])
    print(json.dumps({"reconnects": total, "wrong": wrong, "readers": readers}), flush=True)


async def child(*arguments: object) -> asyncio.subprocess.Process:
    words = [str(argument) for argument in arguments]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.readers",
        "--child",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def ready(process: asyncio.subprocess.Process) -> None:
    """Wait for the first line of a process."""
    assert process.stdout is not None
    await process.stdout.readline()


async def go(process: asyncio.subprocess.Process) -> None:
    """Let the writer begin."""
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await process.stdin.drain()


async def figures(process: asyncio.subprocess.Process) -> dict[str, Any]:
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("a process has failed")
    return json.loads(output)


async def measure(readers: int, count: int, pause: float) -> None:
    """Everything, and the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        writer = await child("write", path, count, pause)
        await ready(writer)
        await asyncio.sleep(0.5)
        both = [await child("read", path, kind, readers, count) for kind in ("hub", "poll")]
        for process in both:
            await ready(process)
        await go(writer)
        hub, poll = await asyncio.gather(*map(figures, both))
        await writer.wait()
    print(f"{readers} readers of an execution of another process, {count} items, one in {pause:g} s on average")
    print(f"{'':24}{'hub':>12}{'poll':>12}{'ratio':>9}{'goal':>9}")
    for name, title, factor, unit, goal in (
        ("p50", "delay, median", 1e3, "ms", None),
        ("p99", "delay, 99 %", 1e3, "ms", 1 / 6),
        ("cpu", "CPU time", 1, "s", 1 / 3),
        ("idle", "CPU while idle", 1e2, "%", None),
    ):
        ratio = hub[name] / poll[name]
        aim = "" if goal is None else f"{goal:9.2f}"
        print(f"{title:24}{hub[name] * factor:9.2f} {unit:2}{poll[name] * factor:9.2f} {unit:2}{ratio:9.3f}{aim}")
    print(f"idle goal: 2 % of a core; {'kept' if hub['idle'] <= 0.02 else 'missed'}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        writer = await child("write", path, 150, 0.05)
        await ready(writer)
        await go(writer)
        again = await figures(await child("reconnect", path, RECONNECTS // 12, 150))
        await writer.wait()
    text = "{reconnects} random reconnects of {readers} readers: {wrong} readers lost an item or got one twice"
    print(text.format(**again))
    if again["wrong"] or again["reconnects"] < RECONNECTS:
        raise SystemExit(1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.readers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="200 readers")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, path, *rest = arguments.child
        if kind == "write":
            asyncio.run(write(Path(path), int(rest[0]), float(rest[1])))
        elif kind == "read":
            asyncio.run(read(Path(path), rest[0], int(rest[1]), int(rest[2])))
        else:
            asyncio.run(reconnect(Path(path), int(rest[0]), int(rest[1])))
    elif arguments.quick:
        asyncio.run(measure(200, 100, 0.15))
    else:
        asyncio.run(measure(1000, 200, 0.3))


if __name__ == "__main__":
    main()
