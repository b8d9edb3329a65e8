"""`python -m bench.workers`: how workers share what was submitted, and how long it takes to run what is due at once.

`share`: 1,000 executions are submitted to three worker processes that wait. Each has a part of about a third, and none
more than 60 %. `latency`: from the submit to the first line of the chunk, in another process. `due`: 20,000 executions
are parked, and their timers are due within one second; one worker runs all of them, with the memory it takes.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

FLOW = "work"
LATENCY = "latency"


def flows() -> tuple[TriggerFlow, ...]:
    """One chunk that takes 5 ms and tells its process; one that tells when it began; and one that sleeps in between."""
    flow, latency, due = TriggerFlow(name=FLOW), TriggerFlow(name=LATENCY), TriggerFlow(name="due")

    async def work(data: Any) -> int:
        await asyncio.sleep(0.005)
        return os.getpid()

    async def tell(data: Any) -> float:
        return time.time() - data.value

    async def sleep(data: Any) -> None:
        await data.async_emit("woken", data.value, delay=max(2.0, data.value - time.time()))

    async def wake(data: Any) -> int:
        return 1

    flow.to(("work", work)).end()
    latency.to(("tell", tell)).end()
    due.to(("sleep", sleep))
    due.when("woken").to(("wake", wake)).end()
    return flow, latency, due


async def serve(path: str, seconds: float) -> None:
    """A worker process."""
    async with SQLiteStore(path, synchronous="NORMAL") as store, Worker(store, *flows()[:2]):
        print("ready", flush=True)
        await asyncio.sleep(seconds)


def processes(path: str, count: int) -> list["subprocess.Popen[str]"]:
    """Worker processes that are ready."""
    command = [sys.executable, "-m", "bench.workers", "--serve", path]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    return started


async def all_ended(store: SQLiteStore, flow: str, count: int) -> None:
    """Wait until so many executions have completed."""
    while (await store.counts()).get(flow, {}).get("completed", 0) < count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)


async def share(path: str, count: int) -> None:
    """See the module."""
    flow, latency, _ = flows()
    workers = processes(path, 3)
    try:
        async with SQLiteStore(path, synchronous="NORMAL") as store:
            for number in range(20):
                await asyncio.sleep(0.1)
                await latency.async_submit(time.time(), store=store, id=f"latency-{number}")
            await all_ended(store, LATENCY, 20)
            took = sorted(
                [
                    await (await latency.async_resume(f"latency-{it}", store=store)).async_get_result()
                    for it in range(20)
                ]
            )
            print(f"latency: {1000 * took[10]:.1f} ms (median), {1000 * took[-1]:.1f} ms (longest of 20)")
            begun = time.monotonic()
            for number in range(count):
                await flow.async_submit(number, store=store, id=f"run-{number}")
            submitted = time.monotonic()
            await all_ended(store, FLOW, count)
            ended = time.monotonic()
            by = Counter[int]()
            for number in range(count):
                by[await (await flow.async_resume(f"run-{number}", store=store)).async_get_result()] += 1
            shares = ", ".join(f"{100 * part / count:.0f} %" for _, part in by.most_common())
            print(f"share: {count:,} submitted in {submitted - begun:.1f} s, all ended {ended - begun:.1f} s: {shares}")
    finally:
        for process in workers:
            process.kill()
            process.wait()


async def due(path: str, count: int) -> None:
    """See the module."""
    _, _, flow = flows()
    async with SQLiteStore(path, synchronous="NORMAL") as store, Worker(store, flow, at_once=500) as worker:
        moment = time.time() + 10 + count / 300
        for first in range(0, count, 500):
            executions = [flow.create_execution(store=store) for _ in range(first, min(first + 500, count))]
            await asyncio.gather(*(it.async_begin(moment) for it in executions))
            del executions
        while worker.running:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.sleep(max(0.0, moment - time.time()))
        begun, most = time.monotonic(), 0
        while (await store.counts())["due"].get("completed", 0) < count:
            most = max(most, worker.running)
            await asyncio.sleep(0.1)
        took = time.monotonic() - begun
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"due: {count:,} in {took:.1f} s ({count / took:,.0f} a second), at most {most} at once, "
            f"{(after - before) / 1024:+.0f} MB"
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--due", type=int, default=20_000)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, 600))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        if options.executions:
            asyncio.run(share(str(Path(directory) / "share.db"), options.executions))
        if options.due:
            asyncio.run(due(str(Path(directory) / "due.db"), options.due))


if __name__ == "__main__":
    main()
