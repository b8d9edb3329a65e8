"""Where a flow can be run from: in process, over a backend, over a server. And servers of tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.backend import StoreBackend
from triggerflow.client import Client
from triggerflow.durable import Worker
from triggerflow.server import Server, create_app
from triggerflow.stores import MemoryData, MemoryStore

PLACES = ("process", "backend", "server")


@asynccontextmanager
async def serving(app: Any, port: int = 0, **options: Any) -> AsyncIterator[Server]:
    """A server on loopback."""
    server = Server(app, port=port, **options)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        yield server
    finally:
        server.should_exit = True
        await task


class Place:
    """Runs flows from one of the places. All have a worker of another process."""

    def __init__(self, kind: str, *flows: TriggerFlow) -> None:
        self.kind = kind
        self._flows = flows
        self._stack = AsyncExitStack()
        self.client: Client

    async def __aenter__(self) -> "Place":
        data = MemoryData()
        there = await self._stack.enter_async_context(MemoryStore(data))
        here = await self._stack.enter_async_context(MemoryStore(data))
        await self._stack.enter_async_context(Worker(there, *self._flows))
        self._store = here
        if self.kind == "server":
            server = await self._stack.enter_async_context(serving(create_app(self._flows, here)))
            self.client = await self._stack.enter_async_context(Client(server.url, patience=5.0))
        elif self.kind == "backend":
            self.client = Client(StoreBackend(here, *self._flows))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def flow(self, name: str) -> Any:
        """The flow, as it is written in this place."""
        if self.kind != "process":
            return self.client.flow(name)
        return next(it for it in self._flows if it.name == name).set_store(self._store)
