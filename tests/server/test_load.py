"""Many open streams, readers that never read, and a server that stops meanwhile: bounded, never a crash."""

import asyncio
import itertools
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server.processes import Comer, Process, free_port, request

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(300)]

SSE = b"GET /api/executions/%b/%b HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


def sizes(few: Any, many: Any) -> Any:
    """How many in `make test`, and in `make soak`."""
    return pytest.mark.parametrize(
        "count", [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.soak)]
    )


def memory(process: Process) -> int:
    """The memory of a process, in bytes."""
    for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


async def opened(port: int, id: bytes, count: int, kind: bytes = b"frames") -> list[tuple[Any, Any]]:
    found = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(SSE % (id, kind))
        found.append((reader, writer))
    return found


async def status_of(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


@contextmanager
def serving(tmp_path: Path, **limits: Any) -> Iterator[Process]:
    with Process(str(tmp_path / "runs.db"), free_port(), worker=True, limits=limits) as server:
        yield server


@sizes(300, 2000)
async def test_streams_above_the_limit_are_refused_and_calls_still_answered(tmp_path: Path, count: int) -> None:
    limit = count * 3 // 4
    with serving(tmp_path, streams=limit) as server:
        port = server.port or 0
        request(port, "POST", "/api/flows/report/executions", {"value": "x", "id": "r"})
        streams = await opened(port, b"r", count)
        statuses = [await asyncio.wait_for(status_of(reader), 60) for reader, _ in streams]
        assert sorted(set(statuses)) == [200, 503]
        assert statuses.count(200) == limit
        assert (await asyncio.to_thread(request, port, "GET", "/api/executions/r"))[0] == 200
        for _, writer in streams:
            writer.close()
        while b"triggerflow_streams 0\n" not in await metrics(port):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def metrics(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    found = await reader.read()
    writer.close()
    return found


@sizes(40, 200)
async def test_readers_that_never_read_take_little_memory_and_are_cut_off(tmp_path: Path, count: int) -> None:
    """Each would be sent megabytes."""
    with serving(tmp_path, send_time=5) as server:
        port = server.port or 0
        body = {"value": " ".join("x" * 100_000 for _ in range(20)), "id": "r"}
        await asyncio.to_thread(request, port, "POST", "/api/flows/report/executions", body)
        before = memory(server)
        stuck: list[socket.socket] = []
        for _ in range(count):
            it = socket.socket()
            it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            it.connect(("127.0.0.1", port))
            it.sendall(SSE % (b"r", b"frames"))
            stuck.append(it)
        most = 0
        while b"triggerflow_streams 0\n" not in await metrics(port):
            most = max(most, memory(server))
            await asyncio.sleep(0.1)
        assert most - before < 40_000_000 + count * 600_000
        assert (await asyncio.to_thread(request, port, "GET", "/health"))[0] == 200
        for it in stuck:
            it.close()


@sizes(100, 1000)
@pytest.mark.parametrize("reads", [True, False], ids=["readers", "readers that never read"])
async def test_a_server_stops_while_streams_are_open(tmp_path: Path, reads: bool, count: int) -> None:
    with serving(tmp_path) as server:
        port = server.port or 0
        value = "x" if reads else "x" * 2_000_000
        await asyncio.to_thread(request, port, "POST", "/api/flows/report/executions", {"value": value, "id": "r"})
        streams = await opened(port, b"r", count)
        if reads:
            for reader, _ in streams:
                assert await asyncio.wait_for(status_of(reader), 60) == 200
        else:
            await asyncio.sleep(1)
        assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
        for reader, writer in streams:
            if reads:
                rest = await asyncio.wait_for(reader.read(), 60)
                assert b'"code":"stopping"' in rest
                assert b"retry: " in rest
            writer.close()
        assert server.said == ""


@sizes((10, 150), (50, 1500))
def test_clients_go_on_at_another_server_with_nothing_lost_and_nothing_twice(tmp_path: Path, count: Any) -> None:
    """Each server in turn is stopped with SIGTERM, again and again."""
    clients, items = count
    place = str(tmp_path / "runs.db")
    with ExitStack() as stack, ThreadPoolExecutor(clients) as threads:
        servers = [stack.enter_context(Process(place, free_port())) for _ in range(2)]
        stack.enter_context(Process(place))
        ports = [server.port or 0 for server in servers]
        Comer(itertools.cycle(ports)).call("POST", "/api/flows/counter/executions", {"id": "c", "value": items})
        readers = [Comer(itertools.cycle(ports)) for _ in range(clients)]
        seen: list[list[tuple[int, Any]]] = [[] for _ in readers]
        done = threading.Event()

        def stopping() -> None:
            for server in itertools.cycle(servers):
                if done.wait(1):
                    return
                server.stop(signal.SIGTERM)
                server.start()
                server.wait()

        thread = threading.Thread(target=stopping)
        thread.start()
        try:
            running = [
                threads.submit(reader.read, "/api/executions/c/stream", got, lambda it: it["item"] == items)
                for reader, got in zip(readers, seen, strict=True)
            ]
            for reader in running:
                reader.result()
        finally:
            done.set()
            thread.join()
    assert all([number for number, _ in got] == list(range(1, items + 1)) for got in seen)
    assert sum(reader.cuts for reader in readers) >= clients
