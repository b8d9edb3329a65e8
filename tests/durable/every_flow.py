"""Every flow durable: with `TRIGGERFLOW_TEST_STORE=memory` or `sqlite` a test runs with a store behind all its flows.

What a test says stays as it is: "everything else of the API stays as it is". What cannot hold for an execution whose
records are kept stands in `not_durable.txt`, with the reason.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.virtual_time import VirtualTimeLoop
from triggerflow import TriggerFlow
from triggerflow.portal import run_sync
from triggerflow.stores.memory import MemoryStore
from triggerflow.stores.sqlite.store import SQLiteStore
from triggerflow.stores.sqlite.worker import Worker

#: Which store; empty: none.
KIND = os.environ.get("TRIGGERFLOW_TEST_STORE", "")


class StoreOfLoop:
    """The store of one event loop, opened with its first use: flows are made before any loop runs."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._opened: asyncio.Future[None] | None = None

    @property
    def owner(self) -> str:
        return self._store.owner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        async def call(*args: Any, **options: Any) -> Any:
            await self._open()
            return await method(*args, **options)

        return call

    async def _open(self) -> None:
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            await self._store.__aenter__()
            self._opened.set_result(None)
        await self._opened

    async def close(self) -> None:
        if self._opened is not None:
            self._opened = None
            await self._store.__aexit__(None, None, None)


@contextmanager
def every_flow_durable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While this lasts, each flow has the store of the loop on which it makes an execution."""
    stores: dict[asyncio.AbstractEventLoop | None, StoreOfLoop] = {}

    def store_here(flow: TriggerFlow) -> StoreOfLoop:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None  # sync entries run on the background loop
        if loop is not None and not isinstance(loop, VirtualTimeLoop):
            loop = None
        if loop not in stores:
            store = MemoryStore() if KIND == "memory" else SQLiteStore(folder / f"{len(stores)}.db", synchronous="NORMAL")
            stores[loop] = StoreOfLoop(store)
            if loop is not None:
                loop.at_close.append(stores[loop].close)
        return stores[loop]

    monkeypatch.setattr(VirtualTimeLoop, "instant", (Worker,))
    monkeypatch.setattr(TriggerFlow, "_store", property(store_here, lambda flow, store: None), raising=False)
    yield
    if None in stores:
        run_sync(stores[None].close, "close")


def not_durable() -> set[str]:
    """The tests that do not hold with a store: files, tests, or single cases of a parametrised test."""
    lines = (Path(__file__).parent / "not_durable.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave those tests out. A line that names none is an error."""
    lines = not_durable()
    left: list[pytest.Item] = []
    for item in items:
        names = {item.nodeid, item.nodeid.partition("[")[0], item.nodeid.partition("::")[0]}
        (left if names & lines else []).append(item)
    config.hook.pytest_deselected(items=left)
    gone = set(left)
    items[:] = [item for item in items if item not in gone]
