"""Appends pairs of records to three executions, for ever, and says after each append how many are kept."""

import asyncio
import sys

from triggerflow.stores import SQLiteStore
from triggerflow.testing.stores import more, new


async def main(path: str, round: str) -> None:
    async with SQLiteStore(path) as store:
        names = [f"{round}-{number}" for number in range(3)]

        async def write(name: str) -> None:
            await store.append([new(name)])
            kept = 0
            while True:
                await store.append([more(name, kept, b"%d" % kept, b"%d" % (kept + 1))])
                kept += 2
                print(name, kept, flush=True)

        await asyncio.gather(*map(write, names))


asyncio.run(main(*sys.argv[1:]))
