"""What a backend costs: frames of a long execution, lists and counts over many executions, questions.

    python -m bench.backend                       # 15,000 frames, 20,000 executions, about a minute
    python -m bench.backend --executions 2000

Every figure is beside one of the same run: frames beside a bare read of the same records, a list beside a query for one
row. On a busy machine read the ratios.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import msgspec

from triggerflow import TriggerFlow
from triggerflow.backend import Moment, StoreBackend
from triggerflow.stores import SQLiteStore
from triggerflow.stores.protocol import Append, ExecutionRow

STATUSES: tuple[Any, ...] = ("completed", "completed", "completed", "failed", "waiting", "running")


def pipeline(items: int) -> TriggerFlow:
    """A for_each whose chunk writes a stream item and a key of the state: three records an item."""
    flow = TriggerFlow("pipeline")

    @flow.chunk("work")
    async def work(data: Any) -> int:
        await data.async_put_into_stream({"item": data.value})
        data.state.set(f"key-{data.value % 50}", data.value)
        return data.value

    def numbers(data: Any) -> list[int]:
        return list(range(items))

    flow.to(numbers).for_each(concurrency=8).to(work).end_for_each().end()
    return flow


async def timed(call: Callable[[], Awaitable[Any]], times: int) -> float:
    """Milliseconds of CPU time of one call: the median of some."""
    spent: list[float] = []
    for _ in range(times):
        begin = process_time()
        await call()
        spent.append(process_time() - begin)
    return 1000 * median(spent)


async def frames(path: Path, records: int) -> None:
    """The frames of one execution."""
    flow = pipeline(records // 3)
    async with SQLiteStore(path, synchronous="NORMAL") as store:
        await flow.create_execution(store=store, id="long").async_start()
        backend = StoreBackend(store)
        count = (await backend.get("long")).frames

        async def bare() -> None:
            first = 0
            while rows := await store.records("long", first=first, limit=500):
                first = rows[-1][0] + 1
                for _, data in rows:
                    msgspec.json.decode(data)

        async def read(after: int = 0) -> None:
            seen = [frame.number async for frame in backend.frames("long", after=after)]
            assert len(seen) == count - after

        async def folded() -> None:
            moment = Moment()
            async for frame in backend.frames("long"):
                moment.take(frame)
            assert moment.status == "completed"

        await timed(read, 1)
        low, all_of_them = await timed(bare, 3), await timed(read, 3)
        print(f"{count:,} frames: {all_of_them:.0f} ms, {1000 * all_of_them / count:.0f} us each, ", end="")
        print(f"{all_of_them / low:.1f} x reading and decoding the records")
        last = await timed(lambda: read(count - 100), 3)
        print(f"  folded: {await timed(folded, 3):.0f} ms; the last 100: {last:.1f} ms")
        data = [msgspec.json.encode(frame) async for frame in backend.frames("long")]
        print(f"  as JSON: {sum(map(len, data)) / count:.0f} bytes each; state at the middle: ", end="")
        print(f"{await timed(lambda: backend.state_at('long', count // 2), 3):.0f} ms")


async def lists(path: Path, executions: int) -> None:
    """Lists and counts over many executions."""
    async with SQLiteStore(path, synchronous="NORMAL") as store:
        for start in range(0, executions, 500):
            await store.append([_execution(number) for number in range(start, min(start + 500, executions))])
        backend = StoreBackend(store)
        last = (await backend.executions(flow="flow-3", limit=1000)).next
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "get": lambda: backend.get("run-7"),
            "page of 100": lambda: backend.executions(),
            "page of 100 by flow and status": lambda: backend.executions(flow="flow-3", status=["failed", "waiting"]),
            "page of 100 by label": lambda: backend.executions(labels={"team": "team-7"}),
            "page of 100 by text": lambda: backend.executions(text="run-19"),
            "page of 100 after 1,000": lambda: backend.executions(flow="flow-3", after=last),
            "counts": lambda: backend.counts(),
            "page of 100 questions": lambda: backend.questions(),
        }
        base = await timed(calls["get"], 200)
        print(f"{executions:,} executions; CPU time, and times that of `get` ({base:.2f} ms)")
        for name, call in calls.items():
            spent = await timed(call, 20)
            print(f"  {name:32} {spent:8.2f} ms {spent / base:8.1f} x")


def _execution(number: int) -> Append:
    row = ExecutionRow(
        id=f"run-{number}", flow=f"flow-{number % 7}", definition="0" * 12, created=number, updated=number,
        options=b'{"lists_questions": true, "rules": 5}', labels={"team": f"team-{number % 20}"},
    )  # fmt: skip
    status = STATUSES[number % len(STATUSES)]
    questions: dict[str, bytes | None] = {}
    if status == "waiting":
        questions["q"] = b'{"answer":"q","chunk":"ask","type":"pause","payload":"?"}'
    return Append(
        execution=row.id, first=0, records=[], status=status, at=float(number), create=row, questions=questions,
        error="work: ValueError: no such thing" if status == "failed" else None,
    )  # fmt: skip


async def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=15_000)
    parser.add_argument("--executions", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        await frames(Path(folder) / "one.db", given.records)
        await lists(Path(folder) / "many.db", given.executions)


if __name__ == "__main__":
    asyncio.run(main())
