"""Durable executions of five chunks on PostgreSQL and on SQLite, by turns: alone, and 200 at once.

    python -m bench.postgres                                  # about 30 s, on a server of its own
    python -m bench.postgres --conninfo "host=db dbname=bench"

Both wait for the disk with each commit. The server is on the same machine and takes its share of the processor: trust
the ratios, and only on a machine that does nothing else. Figures are medians of wall time.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.stores import PostgresStore, SQLiteStore

CHUNKS = 5
#: What is asked for: at least this part of the rate of SQLite, and at most so many times its time for a chunk.
RATE, TIME = 0.3, 3.0


def chain() -> TriggerFlow[Any, Any]:
    """Five chunks, one after the other."""
    flow: TriggerFlow[Any, Any] = TriggerFlow("chain")

    async def add(data: Any) -> int:
        return data.value + 1

    chain = flow.to(add)
    for _ in range(CHUNKS - 1):
        chain = chain.to(add)
    chain.end()
    return flow


async def alone(flow: TriggerFlow[Any, Any], store: Any, count: int) -> list[float]:
    """Seconds for a chunk, with one execution at a time."""
    taken: list[float] = []
    for number in range(count):
        begun = time.perf_counter()
        assert await flow.create_execution(store=store).async_start(number) == number + CHUNKS
        taken.append((time.perf_counter() - begun) / CHUNKS)
    return taken


async def at_once(flow: TriggerFlow[Any, Any], store: Any, count: int) -> float:
    """Executions per second, with so many at once."""
    begun = time.perf_counter()
    await asyncio.gather(*[flow.create_execution(store=store).async_start(number) for number in range(count)])
    return count / (time.perf_counter() - begun)


async def compare(conninfo: str, rounds: int) -> bool:
    """Print the figures; whether they are what is asked for."""
    flow = chain()
    chunk: dict[str, list[float]] = {"sqlite": [], "postgres": []}
    rate: dict[str, list[float]] = {"sqlite": [], "postgres": []}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        schema = f"bench_{int(time.time())}"
        async with SQLiteStore(Path(folder) / "runs.db") as sqlite, PostgresStore(conninfo, schema=schema) as postgres:
            for turn in range(rounds + 1):
                for name, store in (("sqlite", sqlite), ("postgres", postgres)):
                    one, many = await alone(flow, store, 20), await at_once(flow, store, 200)
                    if turn:  # the first round warms up
                        chunk[name] += one
                        rate[name].append(many)
    for name in chunk:
        print(
            f"  {name:<10}{1e3 * median(chunk[name]):>8.2f} ms a chunk alone{median(rate[name]):>8,.0f} /s, 200 at once"
        )
    slower = median(chunk["postgres"]) / median(chunk["sqlite"])
    part = median(rate["postgres"]) / median(rate["sqlite"])
    print(f"  alone {slower:.2f} times the time of SQLite (at most {TIME})")
    print(f"  at once {part:.2f} of the rate of SQLite (at least {RATE})")
    return slower <= TIME and part >= RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conninfo", help="an empty database; default: a server in a temporary folder")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        conninfo = options.conninfo
        if conninfo is None:
            from tests.postgres import running_cluster

            conninfo = stack.enter_context(running_cluster()).conninfo
        if not asyncio.run(compare(conninfo, options.rounds)):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
