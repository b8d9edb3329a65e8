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
from triggerflow.run.flow_runtime import FlowRuntime
from triggerflow.run.portal import run_sync
from triggerflow.stores.memory import MemoryData, MemoryStore
from triggerflow.stores.sqlite.store import SQLiteStore
from triggerflow.stores.sqlite.thread import SingleThread

#: Which store; empty: none.
KIND = os.environ.get("TRIGGERFLOW_TEST_STORE", "")


class StoreAnywhere:
    """One store for whichever event loop uses it: on each another owner over the same data, opened with its first use.

    Flows are made before any loop runs, and a sync test runs some on one loop and some on another.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._opened: dict[asyncio.AbstractEventLoop, Any] = {}
        self._locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    @property
    def owner(self) -> str:
        return self._opened[asyncio.get_running_loop()].owner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **options: Any) -> Any:
            return await getattr(await self._here(), name)(*args, **options)

        return call

    async def _here(self) -> Any:
        loop = asyncio.get_running_loop()
        async with self._locks.setdefault(loop, asyncio.Lock()):
            if loop not in self._opened:
                self._opened[loop] = store = self._make()
                await store.__aenter__()
                if isinstance(loop, VirtualTimeLoop):
                    loop.at_close.append(self.close)
        return self._opened[loop]

    async def close(self) -> None:
        """Close the store of this loop, if it was used here."""
        store = self._opened.pop(asyncio.get_running_loop(), None)
        if store is not None:
            await store.__aexit__(None, None, None)


@contextmanager
def every_flow_durable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While this lasts, each flow has a store. Executions that are made on one loop share one, the others do not."""
    data, stores = MemoryData(), dict[asyncio.AbstractEventLoop, StoreAnywhere]()
    made: list[StoreAnywhere] = []

    def open_one() -> Any:
        return MemoryStore(data) if KIND == "memory" else SQLiteStore(folder / "runs.db", synchronous="NORMAL")

    def store_here(flow: FlowRuntime) -> StoreAnywhere:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            made.append(StoreAnywhere(open_one))
            return made[-1]
        if loop not in stores:
            made.append(StoreAnywhere(open_one))
            stores[loop] = made[-1]
        return stores[loop]

    monkeypatch.setattr(VirtualTimeLoop, "instant", (SingleThread,))
    monkeypatch.setattr(FlowRuntime, "store", property(store_here, lambda flow, store: None), raising=False)
    monkeypatch.setattr(FlowRuntime, "require_name", lambda flow: None)  # most tests name no flow
    yield
    for store in made:
        run_sync(store.close, "close")  # on the loop of the sync entries; virtual loops close their own


def expect_failures(items: list[pytest.Item]) -> None:
    """The tests of `not_durable.txt` have to fail: what holds all the same does not belong there.

    A line names a test, with all its cases or with one, or ends with `*` for all that begin so; behind "sqlite: " it
    holds for that store only.
    """
    text = (Path(__file__).parent / "not_durable.txt").read_text(encoding="utf-8")
    lines = [line.removeprefix(f"{KIND}: ") for line in text.splitlines() if line and not line.startswith("#")]
    whole, begin = set(lines), tuple(line[:-1] for line in lines if line.endswith("*"))
    for item in items:
        if item.nodeid in whole or item.nodeid.partition("[")[0] in whole or item.nodeid.startswith(begin):
            item.add_marker(pytest.mark.xfail(strict=True, reason="see tests/durable/not_durable.txt"))
