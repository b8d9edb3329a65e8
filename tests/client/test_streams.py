"""Streams over HTTP go on after any break: each number comes, and comes once."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.client.places import serving
from tests.relay import Relay
from triggerflow import TriggerFlow
from triggerflow.backend import BadRequest, StoreBackend
from triggerflow.client import HTTPBackend
from triggerflow.durable import Worker
from triggerflow.errors import StoreUnavailable, UnknownExecution
from triggerflow.server import create_app
from triggerflow.stores import MemoryStore, Store

#: They wait for sockets.
pytestmark = pytest.mark.real_time

ITEMS = 120


def talking() -> TriggerFlow:
    """Puts many items into its stream, with pauses."""
    flow = TriggerFlow("talking")

    @flow.chunk("talk")
    async def talk(data: Any) -> None:
        for number in range(ITEMS):
            await data.async_put_into_stream({"delta": f"{number} ", "speaker": "x" * 150})
            await asyncio.sleep(data.value)

    flow.to(talk).end()
    return flow


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    flow = talking()
    async with MemoryStore() as made, Worker(made, flow):
        yield made


@pytest.fixture
async def relay(store: Store) -> AsyncIterator[Relay]:
    async with serving(create_app([talking()], store)) as server, Relay(int(server.url.rpartition(":")[2])) as made:
        yield made


@pytest.mark.parametrize(
    ("readers", "cuts"), [(4, 200), pytest.param(20, 1000, marks=[pytest.mark.soak, pytest.mark.timeout(240)])]
)
async def test_cuts_lose_nothing_and_give_nothing_twice(store: Store, relay: Relay, readers: int, cuts: int) -> None:
    made = random.Random(7)
    cut = 0

    def cut_after() -> int:
        nonlocal cut
        cut += 1
        return made.randrange(500, 1000)

    relay.cuts = cut_after
    direct = StoreBackend(store, talking())
    await direct.start("talking", 0.01, id="one")

    async def read(kind: str, backend: HTTPBackend) -> list[Any]:
        return [it async for it in getattr(backend, kind)("one", follow=True)]

    async with AsyncExitStack() as stack:
        url = f"http://127.0.0.1:{relay.port}"
        backends = [await stack.enter_async_context(HTTPBackend(url, patience=60.0)) for _ in range(readers)]
        reading = [read("stream" if number % 4 else "frames", it) for number, it in enumerate(backends)]
        found = await asyncio.gather(*reading)
    assert cut >= cuts
    frames = [it async for it in direct.frames("one")]
    items = [it async for it in direct.stream("one")]
    assert len(items) == ITEMS
    for number, it in enumerate(found):
        assert it == (items if number % 4 else frames)


async def test_compact_items_add_up_over_cuts(store: Store, relay: Relay) -> None:
    direct = StoreBackend(store, talking())
    await direct.start("talking", 0.0, id="one")
    await direct.result("one", wait=20)
    relay.cuts = lambda: 2000
    async with HTTPBackend(f"http://127.0.0.1:{relay.port}") as backend:
        whole = [it async for it in backend.stream("one", follow=True, compact=True, after=50)]
    assert "".join(it.item["delta"] for it in whole) == "".join(f"{it} " for it in range(50, ITEMS))


async def test_changes_are_told_over_cuts(store: Store, relay: Relay) -> None:
    direct = StoreBackend(store, talking())
    cut = iter([None, 400, 600, 500])
    relay.cuts = lambda: next(cut, None)
    async with HTTPBackend(f"http://127.0.0.1:{relay.port}") as backend:
        now = await backend.changes()
        seen = set[str]()
        cursor = now.cursor
        assert now.executions == []
        assert await backend.changes(cursor, wait=0.05) == now
        for number in range(5):
            await direct.start("talking", 0.0, id=f"run-{number}")
            while f"run-{number}" not in seen:
                told = await backend.changes(cursor, wait=20)
                seen.update(told.executions)
                cursor = told.cursor
        assert (await direct.changes("no cursor", wait=0.1)).resync
        assert (await backend.changes("no cursor", wait=20)).resync


async def test_a_stream_says_what_is_wrong(store: Store, relay: Relay) -> None:
    direct = StoreBackend(store, talking())
    await direct.start("talking", 0.0, id="one")
    await direct.result("one", wait=20)
    async with HTTPBackend(f"http://127.0.0.1:{relay.port}", patience=0.5) as backend:
        with pytest.raises(UnknownExecution):
            await anext(backend.frames("other", follow=True))
        with pytest.raises(UnknownExecution):
            await anext(backend.stream("other"))
        for follow in (True, False):
            with pytest.raises(BadRequest):
                await anext(backend.frames("one", after=10_000, follow=follow))
            with pytest.raises(BadRequest):
                await anext(backend.frames("one", after=-1, follow=follow))
    relay.cuts = lambda: 0
    async with HTTPBackend(f"http://127.0.0.1:{relay.port}", patience=0.5) as backend:
        with pytest.raises(StoreUnavailable, match="no answer for"):
            await anext(backend.frames("one", follow=True))
        with pytest.raises(StoreUnavailable, match="may have been done"):
            await backend.get("one")


async def test_what_was_never_sent_was_not_done() -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with HTTPBackend(url, patience=0.2) as backend:
            with pytest.raises(StoreUnavailable, match="never sent, so nothing was done"):
                await backend.start("talking", 1, id="one")


async def test_a_reader_that_leaves_closes_its_connection(store: Store) -> None:
    direct = StoreBackend(store, talking())
    await direct.start("talking", 0.05, id="one")
    app = create_app([talking()], store)
    async with serving(app) as server, HTTPBackend(server.url) as backend:
        for _ in range(3):
            frames: Any = backend.frames("one", follow=True)
            await anext(frames)
            await frames.aclose()
        async with asyncio.timeout(10):
            while app.streams.open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
