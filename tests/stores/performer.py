"""An owner in a process of its own: claims executions with open requests, and performs each in one append.

python performer.py FILE
"""

import asyncio
import sys
import time

from triggerflow._core.errors import StoreConflict
from triggerflow.stores import Append, NewRecord, Reply, SQLiteStore, Store


async def perform(store: Store) -> None:
    """Perform what is open in the executions of this owner, a few at a time."""
    while found := await store.requests(limit=3):
        for each in found:
            row = await store.find(each.execution)
            assert row is not None
            add = Append(
                execution=each.execution,
                first=row.records,
                records=[NewRecord(each.data)],
                status="waiting",
                at=1.0,
                replies=[Reply(request=each.id, ok=True, data=each.data, at=time.time())],
            )
            await store.append([add])


async def main(path: str) -> None:
    """Until the process is killed."""
    async with SQLiteStore(path, synchronous="NORMAL", busy_timeout=30) as store:
        print("ready", flush=True)
        cursor = None
        while True:
            for row in await store.claim_work(["flow"], limit=2):
                try:
                    await perform(store)
                    await store.release([row.id])
                except StoreConflict:
                    continue
            cursor = (await store.wait_changes(cursor, timeout=0.1)).cursor


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
