"""What the HTTP server costs: starts beside the same in process, and many readers of one execution.

    python -m bench.server                        # 1,000 readers of 250 items, 2,000 starts, some minutes
    python -m bench.server --readers 200 --starts 300

Readers: the CPU seconds of a server process that sends 250 items to each reader, beside a bare Starlette application
that sends the same bytes, from one list and one event, to as many readers. Starts: per second and the 99th percentile,
over HTTP with connections that stay open and in process, on SQLite and (with --postgres CONNINFO) PostgreSQL; also as
wrk counts them, where it is installed. Stop: how
long the process lives after SIGTERM with all these streams open. On a busy machine read the ratios.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.backend import StoreBackend
from triggerflow.durable import Worker
from triggerflow.server import Limits, Server, create_app
from triggerflow.stores import PostgresStore, SQLiteStore

#: How long the execution waits before its first item, and between two of them, in seconds.
LEAD, PAUSE = 0.5, 0.02


def flow() -> TriggerFlow:
    """Puts items into the stream, one after the other, once it is told to."""
    made = TriggerFlow("items")
    made.signal("go", int, external=True)

    @made.chunk("work")
    async def work(data: Any) -> None:
        for number in range(data.value):
            await asyncio.sleep(PAUSE)
            await data.async_put_into_stream({"delta": f"word {number} ", "index": number})

    made.when("go").to(work).end()
    return made


def store_of(place: str) -> Any:
    """The store at an address: a file, or "postgresql:..."."""
    return PostgresStore(place) if place.startswith("postgresql:") else SQLiteStore(place)


# -- the servers, each in a process of its own -------------------------------------------------------------------------


async def serve(place: str, port: int) -> None:
    """The server; the worker is in the process of the bench."""
    await Server(create_app([flow()], store_of(place), limits=Limits(streams=5000)), port=port).serve()


async def work(place: str, port: int) -> None:
    """A worker."""
    async with store_of(place) as store, Worker(store, flow()):
        await asyncio.Event().wait()


async def bare(place: str, port: int) -> None:
    """A bare Starlette application that sends the pieces of a file of lines, one after the other."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    events = [bytes.fromhex(line) for line in Path(place).read_text(encoding="utf-8").split()]  # noqa: ASYNC240
    sent: list[bytes] = []
    news = asyncio.Event()

    async def pieces() -> Any:
        at = 0
        while at < len(events):
            if at < len(sent):
                piece, at = b"".join(sent[at:]), len(sent)
                yield piece
            else:
                await news.wait()

    async def stream(request: Any) -> Any:
        return StreamingResponse(pieces(), media_type="text/event-stream")

    async def go(request: Any) -> Any:
        async def send() -> None:
            nonlocal news
            for event in events:
                await asyncio.sleep(PAUSE)
                sent.append(event)
                news, before = asyncio.Event(), news
                before.set()

        task = asyncio.ensure_future(send())
        tasks.add(task)
        return Response()

    tasks: set[Any] = set()
    app = Starlette(routes=[Route("/api/executions/one/stream", stream), Route("/go", go, methods=["POST"])])
    await uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="warning", access_log=False, lifespan="off", loop="asyncio")
    ).serve()


def cpu(process: asyncio.subprocess.Process) -> float:
    """The CPU seconds of a process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def started(kind: str, place: str, port: int) -> asyncio.subprocess.Process:
    """A process that serves, once it listens."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.server", "--as", kind, place, str(port))
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return process


# -- readers -----------------------------------------------------------------------------------------------------------


async def read(port: int, items: int, heads: asyncio.Semaphore, arrived: list[int]) -> float:
    """Read the stream up to its last item. Returns when that came."""
    async with heads:  # no storm of connections
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.write(b"GET /api/executions/one/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    arrived[0] += 1
    last, rest = b'"index":%d' % (items - 1), b""
    while last not in rest:
        piece = await reader.read(2**20)
        assert piece, "the stream was cut"
        rest = rest[-200:] + piece
        arrived[1] += 1
    writer.close()
    return perf_counter()


async def readers(port: int, count: int, items: int, begin: Callable[[], Awaitable[Any]], process: Any) -> Any:
    """CPU seconds of the process for all readers, how late the median reader is, and how many pieces each got."""
    heads, arrived = asyncio.Semaphore(50), [0, 0]
    tasks = [asyncio.ensure_future(read(port, items, heads, arrived)) for _ in range(count)]
    while arrived[0] < count:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await asyncio.sleep(LEAD)
    before = cpu(process)
    await begin()
    ends = sorted(await asyncio.gather(*tasks))
    return cpu(process) - before, ends[len(ends) // 2] - ends[0], arrived[1] / count


async def measure_readers(folder: Path, count: int, items: int) -> None:
    """Readers of one execution, beside the bare application, and the stop."""
    place, port = str(folder / "readers.db"), 8970
    async with SQLiteStore(place) as store:
        backend = StoreBackend(store, flow())
        await backend.start("items", 0, id="one")
        process = await started("serve", place, port)
        worker = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.server", "--as", "work", place, "0")
        ours, late, pieces = await readers(port, count, items, lambda: emit(backend, items), process)
        print(f"{count:,} readers x {items} items: {ours:.2f} s CPU, {pieces:.0f} pieces each, {late:.2f} s late")
        worker.kill()
        await worker.wait()
        reading = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
        for reader, writer in reading:
            writer.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        begin = perf_counter()
        process.send_signal(signal.SIGTERM)
        await process.wait()
        print(f"SIGTERM with {count:,} open streams: {perf_counter() - begin:.2f} s")
        for _, writer in reading:
            writer.close()
        events: list[str] = []
        from triggerflow.server.feeds import items_of  # the same bytes

        async for _, event in items_of(backend, "one")(0, False):
            events.append(event.hex())
    (folder / "events").write_text("\n".join(events), encoding="utf-8")
    process = await started("bare", str(folder / "events"), port + 1)

    async def go() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port + 1)
        writer.write(b"POST /go HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()

    floor, late, others = await readers(port + 1, count, items, go, process)
    print(f"the same bytes from a bare Starlette loop: {floor:.2f} s CPU, {others:.0f} pieces each, {late:.2f} s late")
    print(f"ratio {ours / floor:.2f} (budget 1.5), for each piece {ours / pieces / (floor / others):.2f}")
    process.kill()
    await process.wait()


async def emit(backend: StoreBackend, items: int) -> None:
    """Let the execution begin."""
    from triggerflow.backend import Emit

    await backend.act("one", Emit(name="go", value=items))


# -- starts ------------------------------------------------------------------------------------------------------------


async def timed(count: int, at_once: int, make: Callable[[int], Awaitable[Callable[[], Awaitable[None]]]]) -> str:
    """Starts per second and the 99th percentile of one, by `at_once` callers."""
    times: list[float] = []

    async def caller(number: int) -> None:
        call = await make(number)
        for _ in range(count // at_once):
            begin = perf_counter()
            await call()
            times.append(perf_counter() - begin)

    begin = perf_counter()
    await asyncio.gather(*(caller(number) for number in range(at_once)))
    times.sort()
    rate = len(times) / (perf_counter() - begin)
    return f"{rate:7,.0f} starts/s, p99 {1000 * times[int(len(times) * 0.99)]:6.1f} ms"


async def measure_starts(place: str, name: str, count: int, at_once: int) -> None:
    """Starts over HTTP, beside those in process."""
    port = 8972
    async with store_of(place) as store:
        backend = StoreBackend(store, flow())

        async def in_process(number: int) -> Callable[[], Awaitable[None]]:
            async def call() -> None:
                await backend.start("items", 1)

            return call

        print(f"{name:10} in process {await timed(count, at_once, in_process)}")
    process = await started("serve", place, port)
    body = json.dumps({"value": 1}).encode()
    ask = (
        b"POST /api/flows/items/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )

    async def over_http(number: int) -> Callable[[], Awaitable[None]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def call() -> None:
            writer.write(ask)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 201 " in head, head
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(length)

        return call

    print(f"{name:10} over HTTP  {await timed(count, at_once, over_http)}")
    if shutil.which("wrk") is not None:
        print(f"{name:10} wrk        {await wrk(port, body, at_once)}")
    process.terminate()
    await process.wait()


async def wrk(port: int, body: bytes, connections: int) -> str:
    """Starts per second and the 99th percentile as wrk measures them, in five seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f"wrk.method = 'POST'\nwrk.body = '{body.decode()}'\nwrk.headers['Content-Type'] = 'application/json'\n"
            "done = function(summary, latency, requests)\n"
            "  local failed = summary.errors.status + summary.errors.connect + summary.errors.read\n"
            "  print(string.format('RESULT %.0f %.1f %d',\n"
            "    summary.requests / summary.duration * 1e6, latency:percentile(99) / 1e3, failed))\n"
            "end\n"
        )
        script.flush()
        process = await asyncio.create_subprocess_exec(
            *("wrk", "-t", "1", "-c", str(connections), "-d", "5s", "-s", script.name),
            f"http://127.0.0.1:{port}/api/flows/items/executions",
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    rate, late, failed = out.decode().split("RESULT ")[1].split()
    return f"{float(rate):7,.0f} starts/s, p99 {float(late):6.1f} ms, {failed} failed"


async def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--items", type=int, default=250)
    parser.add_argument("--starts", type=int, default=2000)
    parser.add_argument("--callers", type=int, default=20)
    parser.add_argument("--postgres", default="", help="the address of a database")
    parser.add_argument("--as", nargs=3, dest="role", metavar=("KIND", "PLACE", "PORT"))
    options = parser.parse_args()
    if options.role is not None:
        kind, place, port = options.role
        await {"serve": serve, "work": work, "bare": bare}[kind](place, int(port))
        return
    with tempfile.TemporaryDirectory() as folder:
        await measure_readers(Path(folder), options.readers, options.items)
        await measure_starts(str(Path(folder) / "starts.db"), "SQLite", options.starts, options.callers)
    if options.postgres:
        await measure_starts(options.postgres, "PostgreSQL", options.starts, options.callers)


if __name__ == "__main__":
    asyncio.run(main())
