"""What schedules cost a worker: starting what is due, and waiting when nothing is.

    python -m bench.schedules                   # about 20 s

CPU time is that of the process, over all threads; the store is an SQLite file with FULL. Each tick starts an execution
of one chunk, which the same worker runs to its end.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

SCHEDULES = 1_000
IDLE_SECONDS = 5.0


def one_chunk() -> TriggerFlow[Any, Any]:
    """A flow of one chunk, which does nothing."""
    flow: TriggerFlow[Any, Any] = TriggerFlow("tick")

    @flow.chunk
    async def work(data: Any) -> Any:
        return data.value

    flow.to(work).end()
    return flow


async def measure(path: Path) -> None:
    """Print the figures."""
    flow = one_chunk()
    async with SQLiteStore(path) as store:
        at = time.time() + 20
        for number in range(SCHEDULES):
            await flow.async_schedule(f"s{number}", every=86_400, anchor=at, store=store)
        async with Worker(store, flow):
            await asyncio.sleep(1)
            before = time.process_time()
            await asyncio.sleep(IDLE_SECONDS)
            idle = (time.process_time() - before) / IDLE_SECONDS
            await asyncio.sleep(max(0.0, at - time.time()))
            before, begun = time.process_time(), time.perf_counter()
            while (await store.counts()).get("tick", {}).get("completed", 0) < SCHEDULES:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            spent, took = time.process_time() - before, time.perf_counter() - begun
    print(f"idle worker, {SCHEDULES:,} schedules: {100 * idle:.2f} % of a core")
    each = 1000 * spent / SCHEDULES
    print(f"{SCHEDULES:,} ticks due at once: {each:.2f} ms of CPU each, the last ended after {took:.1f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        asyncio.run(measure(Path(folder) / "runs.db"))
