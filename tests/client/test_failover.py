"""Servers that are killed: their clients go on at others, or when they are back. Nothing is lost or done twice."""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import pytest

from tests import support
from triggerflow import TriggerFlow
from triggerflow.backend import Answer, Emit, StoreBackend
from triggerflow.client import Client, HTTPBackend
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

#: They wait for sockets and processes.
pytestmark = pytest.mark.real_time

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import sys
from tests.client.test_failover import asking
from triggerflow.server import Server, create_app
from triggerflow.stores import SQLiteStore

store = SQLiteStore(sys.argv[1], synchronous="NORMAL")
Server(create_app([asking()], store, worker=False), port=int(sys.argv[2])).run()
"""
STEPS = 60


def asking() -> TriggerFlow:
    """Counts in its stream for some seconds, takes signals meanwhile, asks, and returns what it has got."""
    flow = TriggerFlow("asking")
    flow.signal("more", int, external=True)

    @flow.chunk("count")
    async def count(data: Any) -> None:
        for number in range(STEPS):
            await data.async_put_into_stream(number)
            await asyncio.sleep(0.05)
        data.pause_for(interrupt_id="go", schema=bool)

    @flow.chunk("more")
    async def more(data: Any) -> None:
        data.state.append("more", data.value)

    @flow.chunk("end")
    async def end(data: Any) -> Any:
        return sorted(data.state.get("more", []))

    flow.to(count).to(end).end()
    flow.when("more").to(more)
    return flow


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def start(file: Path, port: int) -> Process:
    """A server process, once it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(file), str(port), cwd=ROOT, stderr=PIPE
    )
    async with asyncio.timeout(40):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.returncode is None, process.stderr and await process.stderr.read()
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return process


async def kill(process: Process) -> None:
    support.kill(process)
    await process.communicate()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("several", [True, False], ids=["two servers", "one that comes back"])
async def test_a_killed_server_costs_no_number_and_no_call(tmp_path: Path, several: bool) -> None:
    file, flow = tmp_path / "runs.db", asking()
    ports = [free_port() for _ in range(2 if several else 1)]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with SQLiteStore(file, synchronous="NORMAL") as store, Worker(store, flow):
        servers = [await start(file, port) for port in ports]

        async def read(kind: str, backend: HTTPBackend) -> list[int]:
            return [it.number async for it in getattr(backend, kind)("one", follow=True)]

        async with HTTPBackend(urls, patience=60.0) as backend, Client(urls, patience=60.0) as client:
            await backend.start("asking", id="one")
            readers = [asyncio.create_task(read(kind, backend)) for kind in ("frames", "stream") * 3]
            execution = await client.async_attach("one")
            stream = execution.get_async_runtime_stream()
            assert await anext(stream) == 0
            sent = 0
            for turn in range(3):
                victim = turn % len(servers)
                calls = [asyncio.create_task(backend.act("one", Emit(name="more", value=sent + it))) for it in range(5)]
                starts = [asyncio.create_task(backend.start("asking", id=f"other-{turn}-{it}")) for it in range(3)]
                sent += 5
                await kill(servers[victim])
                if not several:
                    await asyncio.sleep(0.3)
                servers[victim] = await start(file, ports[victim])
                await asyncio.gather(*calls)
                assert [it.id for it in await asyncio.gather(*starts)] == [f"other-{turn}-{it}" for it in range(3)]
            async with asyncio.timeout(60):
                while not (await backend.questions(execution="one")).questions:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await backend.act("one", Answer(question="go", value=True), request="form")
                assert await execution.async_get_result() == list(range(sent))
                found = await asyncio.gather(*readers)
                rest = [it async for it in stream]
        direct = StoreBackend(store, flow)
        frames = [it.number async for it in direct.frames("one")]
        items = [it.number async for it in direct.stream("one")]
        assert found == [frames, items] * 3
        assert rest[: STEPS - 1] == list(range(1, STEPS))
        assert (await direct.counts())["asking"].keys() >= {"completed"}
        assert len((await direct.executions()).executions) == 10
        for server in servers:
            await kill(server)
