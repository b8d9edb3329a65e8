"""What it costs to ask an execution of another process for something: wall time until the reply.

    python -m bench.requests                     # SQLite; about a minute
    python -m bench.requests --count 50          # fewer requests
    python -m bench.requests --postgres DSN      # Postgres as well, with a bare INSERT and NOTIFY there and back

The owner is a process of its own, with an execution that waits. "here" is the same call on a handle in the process of
the owner, where it takes one commit. From another process it takes two: of the request, and of the records with the
reply; and each process has to notice the commit of the other one.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.stores import SQLiteStore, Store

Data = TriggerFlowRuntimeData[Any]
Place = tuple[str, str]  # the kind of store, and where it is

PAUSE = 0.01
"""Seconds between two requests: each one finds both processes idle."""


def opened(place: Place) -> AbstractAsyncContextManager[Store]:
    """The store of this place."""
    kind, where = place
    if kind == "postgres":
        from triggerflow.stores.postgres import PostgresStore  # an extra

        made: Any = PostgresStore(where)
        return made
    return SQLiteStore(where, synchronous="FULL" if kind == "sqlite FULL" else "NORMAL")


def desk() -> TriggerFlow:
    """Asks again and again, takes signals, and can be cancelled."""
    flow = TriggerFlow("bench-requests")
    flow.signal("note", external=True)

    @flow.chunk("ask")
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id=f"q{data.value}", resume_event="answered")

    @flow.chunk("again")
    async def again(data: Data) -> None:
        await data.async_emit("ask", data.value)

    flow.to(ask)
    flow.when("ask").to(ask)
    flow.when("answered").to(again)
    flow.when("note").to(lambda data: None)
    return flow


async def measured(call: Callable[[], Awaitable[Any]]) -> float:
    """Wall time of one call, in milliseconds."""
    await asyncio.sleep(PAUSE)
    begun = time.perf_counter()
    await call()
    return 1000 * (time.perf_counter() - begun)


async def timed(
    store: Store, name: str, count: int, handles: Callable[[str], Awaitable[Any]]
) -> dict[str, list[float]]:
    """Answers, signals and cancellations through the handles that `handles` gives by id."""
    found: dict[str, list[float]] = {"answer": [], "signal": [], "cancel": []}
    handle = await handles(f"{name}-main")
    for number in range(count):
        await handle.async_settled()
        found["answer"].append(
            await measured(lambda number=number: handle.async_continue_with(f"q{number}", number + 1))
        )
        found["signal"].append(await measured(lambda number=number: handle.async_emit("note", number)))
    for number in range(count // 4):
        victim = await handles(f"{name}-{number}")
        found["cancel"].append(await measured(victim.async_cancel))
    return found


async def own(place: Place, name: str, count: int) -> None:
    """The process of the owner: create the executions, and run them until stdin ends."""
    flow = desk()
    async with opened(place) as store:
        held = [
            flow.create_execution(store=store, id=f"{name}-{which}") for which in ("main", *map(str, range(count // 4)))
        ]
        for execution in held:
            await execution.async_begin(0)
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def elsewhere(place: Place, name: str, count: int) -> dict[str, list[float]]:
    """From this process, while another one runs the executions."""
    command = [sys.executable, "-m", "bench.requests", "--own", *place, name, "--count", str(count)]
    owner = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert owner.stdin is not None
    assert owner.stdout is not None
    await owner.stdout.readline()
    async with opened(place) as store:
        found = await timed(store, name, count, lambda id: desk().async_attach(id, store=store))
    owner.stdin.close()
    await owner.wait()
    return found


async def here(place: Place, name: str, count: int) -> dict[str, list[float]]:
    """In the process that runs the executions."""
    flow = desk()
    async with opened(place) as store:

        async def begun(id: str) -> Any:
            execution = flow.create_execution(store=store, id=id)
            await execution.async_begin(0)
            return execution

        return await timed(store, name, count, begun)


async def bare(dsn: str, count: int) -> list[float]:
    """An INSERT with NOTIFY, and the same back: what Postgres alone takes.

    Each side listens on a connection of its own, since one that waits for notifications executes nothing.
    """
    import psycopg

    async def send(connection: psycopg.AsyncConnection[Any], channel: str) -> None:
        await connection.execute("INSERT INTO bench_requests (data) VALUES (%s)", (channel,))
        await connection.execute(b"NOTIFY " + channel.encode())

    async with AsyncExitStack() as stack:

        async def connect() -> psycopg.AsyncConnection[Any]:
            return await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn, autocommit=True))

        asks, hears, replies, waits = [await connect() for _ in range(4)]
        await asks.execute("CREATE TABLE IF NOT EXISTS bench_requests (id serial PRIMARY KEY, data text)")
        await waits.execute("LISTEN bench_there")
        await hears.execute("LISTEN bench_back")

        async def echo() -> None:
            async for _ in waits.notifies():
                await send(replies, "bench_back")

        async def there_and_back() -> None:
            await send(asks, "bench_there")
            async for _ in hears.notifies(stop_after=1):
                pass

        task = asyncio.create_task(echo())
        found = [await measured(there_and_back) for _ in range(count)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asks.execute("DROP TABLE bench_requests")
    return found


def show(what: str, times: list[float]) -> None:
    """One line of the table."""
    p95 = statistics.quantiles(times, n=20)[-1]
    print(f"{what:<44} {statistics.median(times):8.1f} {p95:8.1f} {max(times):8.1f}", flush=True)


async def main(places: list[Place], count: int) -> None:
    """Measure each store, here and elsewhere."""
    print(f"{'':<44} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8}")
    for place in places:
        for measure in (here, elsewhere):
            name = f"bench-{time.time_ns()}"
            for what, times in (await measure(place, name, count)).items():
                show(f"{place[0]}, {measure.__name__}: {what}", times)
        if place[0] == "postgres":
            show("postgres, bare INSERT and NOTIFY, and back", await bare(place[1], count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--postgres", metavar="DSN")
    parser.add_argument("--own", nargs=3, metavar=("KIND", "PLACE", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own:
        kind, where, name = options.own
        asyncio.run(own((kind, where), name, options.count))
    else:
        with tempfile.TemporaryDirectory() as directory:
            stores = [
                (kind, str(Path(directory) / f"{number}.db")) for number, kind in enumerate(("sqlite FULL", "sqlite"))
            ]
            if options.postgres:
                stores.append(("postgres", options.postgres))
            asyncio.run(main(stores, options.count))
