"""A worker process of the chaos test: `python -m tests.chaos.worker STORE LEASE`. It drains on SIGTERM."""

import asyncio
import logging
import sys
from contextlib import suppress

from triggerflow.durable import Worker
from triggerflow.errors import StoreUnavailable

from .flows import make
from .stores import open_store


async def main(store: str, lease: float) -> None:
    """Work until SIGTERM. While the file is locked, it cannot begin."""
    while True:
        with suppress(StoreUnavailable):
            async with open_store(store, lease) as opened:
                # Once `async_run` has begun, and handles SIGTERM.
                asyncio.get_running_loop().call_soon(lambda: print("ready", flush=True))
                await Worker(opened, make(), poll=0.2).async_run(grace=2.0)
                return
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    logging.basicConfig(level="WARNING", format="%(process)d %(message)s")
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
