"""Screens of executions at a moment, as text."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from triggerflow.backend import Backend
from triggerflow.drivers.asyncio import REAL
from triggerflow.terminal.feed import Feed
from triggerflow.terminal.model import Model
from triggerflow.terminal.screen import View, screen, text


@asynccontextmanager
async def watched(backend: Backend, id: str) -> AsyncIterator[Model]:
    """A model that is kept up to date."""
    model = Model(id)
    task = asyncio.create_task(Feed(backend, model, sub_flows=True).run())
    try:
        yield model
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def look(backend: Backend, id: str, *, after: float, width: int = 80, height: int = 24) -> list[str]:
    """The screen so many seconds from now, as its lines."""
    async with watched(backend, id) as model:
        await asyncio.sleep(after)
        return text(screen(model, View(), width, height, REAL.now()))
