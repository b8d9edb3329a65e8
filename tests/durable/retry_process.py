"""A process for `test_retry_kill`: `python retry_process.py STORE LOG MODE`.

The flow reads a source of six items. In mode "fail" the source fails after three of them. "reopened" is killed as soon
as the record of the retry is in the store, "running" in the middle of the run after it, and "finish" runs to the end.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore
from triggerflow.stores.protocol import Append

ID, ITEMS = "import", 6


class KilledStore(SQLiteStore):
    """A store whose process is killed after the append that opens an execution again."""

    async def append(self, appends: Sequence[Append]) -> dict[str, int]:
        """See `Store.append`."""
        newest = await super().append(appends)
        if any(it.reopens for it in appends):
            kill()
        return newest


def kill() -> None:
    """End this process at once: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def flow_for(mode: str, log: Path) -> TriggerFlow:
    """The flow; each run of a chunk adds a line to the log."""
    flow = TriggerFlow("import")

    def note(*words: Any) -> None:
        with log.open("a") as file:
            print(*words, file=file)

    @flow.source
    async def lines(count: int) -> AsyncIterator[int]:
        for number in range(count):
            if number == 3 and mode == "fail":
                raise ConnectionError("the source is down")
            yield number

    async def first(data: Any) -> int:
        note("first", data.attempt)
        return 1

    async def read(data: Any) -> Any:
        note("read", data.attempt)
        return lines(ITEMS)

    async def item(data: Any) -> int:
        note("item", data.value, data.attempt)
        await data.async_put_into_stream(data.value)
        if data.value == 4 and mode == "running":
            kill()
        return data.value * 10

    flow.to(("first", first)).to(("read", read)).for_each(concurrency=1).to(("item", item)).end_for_each().end()
    return flow


async def main(path: str, log: Path, mode: str) -> None:
    """Run one process."""
    flow = flow_for(mode, log)
    async with (KilledStore if mode == "reopened" else SQLiteStore)(path) as store:
        if mode == "fail":
            try:
                await flow.create_execution(store=store, id=ID).async_start(0)
            except ConnectionError:
                return
        elif mode == "finish":
            async with Worker(store, flow, poll=0.05):
                while (row := await store.find(ID)) is None or row.status != "completed":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        else:
            await (await flow.async_retry(ID, store=store)).async_get_result()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
