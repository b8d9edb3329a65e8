"""A flow that goes on and on; as a program, a process that runs it, and says what it is told when it is cut off:

python -m tests.stores.ticking CONNINFO SCHEMA LEASE TIMEOUT
"""

import asyncio
import sys
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.stores import PostgresStore
from triggerflow.testing.stores import more


def ticking() -> TriggerFlow[Any, Any]:
    """Goes on and on, with a record every moment."""
    flow: TriggerFlow[Any, Any] = TriggerFlow("ticking")

    @flow.chunk
    async def tick(data: Any) -> None:
        number = 0
        while True:
            await data.async_put_into_stream(f"{data.value} {number}")
            number += 1
            await asyncio.sleep(0.05)

    flow.to(tick).end()
    return flow


async def read(stream: Any) -> list[Any]:
    """All items."""
    return [item async for item in stream]


async def said(what: str, call: Any) -> None:
    """Say which error a call raises."""
    try:
        await call
    except Exception as error:
        print(what, type(error).__name__, flush=True)


async def main(conninfo: str, schema: str, lease: str, timeout: str) -> None:
    store = PostgresStore(conninfo, schema=schema, lease=float(lease), timeout=float(timeout))
    async with store:
        execution = ticking().create_execution(id="cut-off", store=store)
        await execution.async_begin("value")
        print("begun", flush=True)
        await asyncio.gather(
            said("waiter", execution.async_get_result()), said("reader", read(execution.get_async_runtime_stream()))
        )
        await said("late", store.append([more("cut-off", 1_000_000, b"late")]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
