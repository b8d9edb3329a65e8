"""The task floor: the smallest event-driven engine there can be, as the measure for ours.

A dict from event to handlers, one asyncio task per handler, an end when no task is left. No journal, no limits, no
recovery, no numbered stream: whatever ours costs above this is what those cost. Functions as in `adapter`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

Handler = Callable[["Floor", Any], Coroutine[Any, Any, None]]


class Floor:
    """One run."""

    __slots__ = ("done", "handlers", "result", "state", "tasks")

    def __init__(self, handlers: Mapping[str, tuple[Handler, ...]]) -> None:
        self.handlers = handlers
        self.tasks: set[asyncio.Task[None]] = set()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.state: dict[str, Any] = {}

    def emit(self, event: str, value: Any) -> None:
        """Start every handler of the event."""
        for handler in self.handlers[event]:
            task = asyncio.create_task(handler(self, value))
            self.tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if self.done.done():
            return
        if error is not None:
            self.done.set_exception(error)
        elif not self.tasks:
            self.done.set_result(None)


async def run(handlers: Mapping[str, tuple[Handler, ...]], value: Any) -> Any:
    """Emit "start" and wait until nothing is left to do."""
    floor = Floor(handlers)
    floor.emit("start", value)
    await floor.done
    return floor.result


def _events(count: int) -> list[str]:
    return ["start", *(f"step{index}" for index in range(1, count)), "end"]


async def _end(floor: Floor, value: Any) -> None:
    floor.result = value


def w1(n: int) -> Any:
    """A chain: each handler emits the event of the next."""

    def step(then: str) -> Handler:
        async def handler(floor: Floor, value: int) -> None:
            floor.emit(then, value + 1)

        return handler

    events = _events(n)
    table: dict[str, tuple[Handler, ...]] = {events[i]: (step(events[i + 1]),) for i in range(n)}
    table["end"] = (_end,)
    return lambda: run(table, 0)


def w2(n: int) -> Any:
    """A fan-out to n handlers that meet again in one that counts them."""

    def branch(name: str) -> Handler:
        async def handler(floor: Floor, value: int) -> None:
            floor.emit("arrived", (name, value + 1))

        return handler

    async def arrived(floor: Floor, value: tuple[str, int]) -> None:
        floor.state[value[0]] = value[1]
        if len(floor.state) == n:
            floor.emit("total", floor.state)

    async def total(floor: Floor, values: dict[str, int]) -> None:
        floor.result = sum(values.values())

    branches = tuple(branch(f"b{index}") for index in range(n))
    table: dict[str, tuple[Handler, ...]] = {"start": branches, "arrived": (arrived,), "total": (total,)}
    return lambda: run(table, 1)


def w3(n: int, conc: int) -> Any:
    """Two handlers for each of n items, `conc` items at a time, results in order."""

    async def start(floor: Floor, items: range) -> None:
        floor.state["places"] = places = asyncio.Semaphore(conc)
        floor.result = [None] * n
        for index in items:
            await places.acquire()
            floor.emit("item", (index, index))

    async def item(floor: Floor, value: tuple[int, int]) -> None:
        floor.emit("added", (value[0], value[1] + 1))

    async def added(floor: Floor, value: tuple[int, int]) -> None:
        floor.result[value[0]] = value[1] * 2
        floor.state["places"].release()

    table: dict[str, tuple[Handler, ...]] = {"start": (start,), "item": (item,), "added": (added,)}
    return lambda: run(table, range(n))


def w4(hold: Any = None) -> Any:
    """Five handlers in a chain, each giving way to the loop once."""

    def step(index: int, then: str) -> Handler:
        async def handler(floor: Floor, value: int) -> None:
            if hold is not None and index == 2:
                await hold()
            await asyncio.sleep(0)
            floor.emit(then, value + 1)

        return handler

    events = _events(5)
    table: dict[str, tuple[Handler, ...]] = {events[i]: (step(i, events[i + 1]),) for i in range(5)}
    table["end"] = (_end,)
    return lambda x: run(table, x)


def w5(n: int) -> Any:
    """A handler that emits n events, each handled once."""

    async def start(floor: Floor, value: None) -> None:
        floor.result = 0
        for index in range(n):
            floor.emit("event", index)

    async def handle(floor: Floor, value: int) -> None:
        floor.result += 1

    table: dict[str, tuple[Handler, ...]] = {"start": (start,), "event": (handle,)}
    return lambda: run(table, None)


def w6(n: int) -> Any:
    """Many items from a handler to one reader through a bounded queue."""

    async def start(floor: Floor, queue: asyncio.Queue[Any]) -> None:
        for index in range(n):
            await queue.put({"i": index})
        await queue.put(None)

    async def read() -> int:
        queue: asyncio.Queue[Any] = asyncio.Queue(1024)
        running = asyncio.create_task(run({"start": (start,)}, queue))
        count = 0
        while await queue.get() is not None:
            count += 1
        await running
        return count

    return read


def w8(n: int) -> Any:
    """A handler that emits the event that starts it again."""

    async def step(floor: Floor, value: int) -> None:
        value += 1
        floor.emit("start" if value < n else "end", value)

    table: dict[str, tuple[Handler, ...]] = {"start": (step,), "end": (_end,)}
    return lambda: run(table, 0)


def w9() -> Any:
    """The playbook: normalize, two fetches at once, a report."""

    async def normalize(floor: Floor, value: str) -> None:
        floor.state["topic"] = topic = value.strip()
        floor.emit("topic", topic)

    async def fetch_facts(floor: Floor, topic: str) -> None:
        await asyncio.sleep(0.05)
        floor.emit("fetched", ("facts", f"facts({topic})"))

    async def fetch_risks(floor: Floor, topic: str) -> None:
        await asyncio.sleep(0.03)
        floor.emit("fetched", ("risks", f"risks({topic})"))

    async def join(floor: Floor, value: tuple[str, str]) -> None:
        floor.state[value[0]] = value[1]
        if "facts" in floor.state and "risks" in floor.state:
            floor.emit("joined", None)

    async def compile_report(floor: Floor, value: None) -> None:
        floor.result = floor.state

    table: dict[str, tuple[Handler, ...]] = {
        "start": (normalize,),
        "topic": (fetch_facts, fetch_risks),
        "fetched": (join,),
        "joined": (compile_report,),
    }
    return lambda topic: run(table, topic)


def w10(dir: str) -> Any:
    """Five handlers in a chain, each step one plain commit (NORMAL: not synced one by one)."""
    database = sqlite3.connect(Path(dir) / "floor.db", isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    database.execute("create table steps (execution integer, step integer, value integer)")

    def step(index: int, then: str) -> Handler:
        async def handler(floor: Floor, value: tuple[int, int]) -> None:
            execution, current = value
            database.execute("insert into steps values (?, ?, ?)", (execution, index, current + 1))
            floor.emit(then, (execution, current + 1))

        return handler

    async def end(floor: Floor, value: tuple[int, int]) -> None:
        floor.result = value[1]

    events = _events(5)
    table: dict[str, tuple[Handler, ...]] = {events[i]: (step(i, events[i + 1]),) for i in range(5)}
    table["end"] = (end,)
    return (lambda i: run(table, (i, i))), database.close
