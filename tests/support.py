"""What several tests need: a gauge of concurrency, and short forms for readers and loop turns."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any


class Gauge:
    """Counts who is inside at once: `with gauge.inside():` in every chunk; `peak` is the highest count."""

    def __init__(self) -> None:
        self.count = self.peak = self.total = 0
        self._lock = Lock()

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self._lock:
            self.count += 1
            self.total += 1
            self.peak = max(self.peak, self.count)
        try:
            yield
        finally:
            with self._lock:
                self.count -= 1


@dataclass
class Lazy:
    """Items for a lazy for_each; a source that can be recorded, once its class is registered, and asked again."""

    items: list[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def external(flow: Any, *names: str) -> None:
    """Declare that these events come from outside, so that an execution waits for them."""
    for name in names:
        flow.signal(name, external=True)


async def read(items: AsyncIterable[Any], limit: int | None = None) -> list[Any]:
    """The items of a reader, to its end or the first `limit` of them."""
    found: list[Any] = []
    if limit == 0:
        return found
    async for item in items:
        found.append(item)
        if len(found) == limit:
            break
    return found


async def drain(items: AsyncIterable[Any]) -> tuple[list[Any], BaseException | None]:
    """The items of a reader, and the exception that it ended with; None if it just ended."""
    found: list[Any] = []
    try:
        async for item in items:
            found.append(item)  # noqa: PERF401 - what came before the exception has to stay
    except Exception as error:
        return found, error
    return found, None


async def turns(count: int = 10) -> None:
    """Let the loop turn: whatever can happen without time passing has happened then."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(event: Event) -> None:
    """Wait in a coroutine for what a thread says."""
    while not event.is_set():  # noqa: ASYNC110 - it is a threading.Event
        await asyncio.sleep(0.001)


def now() -> float:
    """The virtual time in seconds."""
    return asyncio.get_running_loop().time()


def kill(process: Process, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process, which may have ended. `Process.kill` looks for its end first; then asyncio's watcher
    misses it, and complains."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
