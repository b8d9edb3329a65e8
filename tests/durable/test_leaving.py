"""How executions leave a process: drained, suspended, closed in order, parked. Never does a chunk run twice at once.

"A run is given back when its chunk has stopped; a thread that does not stop keeps it until the lease."
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.durable.test_worker import come, ended, opened, started
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import ExecutionSuspended, MissingResource, StoreUnavailable
from triggerflow.stores import Append, MemoryStore, SQLiteStore
from triggerflow.stores.memory import MemoryData
from triggerflow.stores.protocol import Store

Data = TriggerFlowRuntimeData[Any]
Open = Callable[..., Any]


def value_of(data: Data) -> Any:
    return data.value


def required(data: Data) -> Any:
    return data.require_resource("db")


def taken(data: Data) -> Any:
    return data.resources["db"]


def working(work: Callable[[Data], Any], *, then: Callable[[Data], Any] | None = None) -> TriggerFlow:
    """Two chunks, one after the other."""
    flow = TriggerFlow(name="working")
    flow.to(("work", work)).to(("then", then or value_of)).end()
    return flow


async def owner_of(store: Store, id: str) -> str | None:
    row = await store.find(id)
    assert row is not None
    return row.owner


class Busy:
    """A sync chunk that runs until it is released, and how many of them run at once, in all processes."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = self.most = self.begun = 0
        self._lock = threading.Lock()

    def __call__(self, data: Data) -> Any:
        with self._lock:
            self.begun += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(60)
        with self._lock:
            self.running -= 1
        return data.value


@pytest.mark.real_time
@pytest.mark.parametrize("way", ["suspend", "worker", "store", "drain"])
async def test_a_thread_that_does_not_stop_keeps_its_execution(way: str, caplog: pytest.LogCaptureFixture) -> None:
    data, busy = MemoryData(), Busy()
    async with MemoryStore(data) as other:
        store = await MemoryStore(data, lease=0.1).__aenter__()
        worker = await Worker(store, flow := working(busy), poll=0.05).__aenter__()
        execution = flow.create_execution(store=store, id="x", cleanup_timeout=0.05)
        await execution.async_begin(1)
        await come(lambda: busy.running)
        with caplog.at_level(logging.WARNING, "triggerflow"):
            if way == "suspend":
                await execution.async_suspend()
            elif way == "worker":
                await worker.__aexit__(None, None, None)
            elif way == "drain":
                await worker.drain(grace=0.05)
            else:
                await worker.__aexit__(None, None, None)
                await store.__aexit__(None, None, None)
        assert "chunk 'work' has not stopped within 0.05 s" in caplog.text
        assert await owner_of(other, "x") is not None
        busy.go.set()
        await come(lambda: not busy.running)
        async with Worker(other, working(busy), poll=0.05):
            assert await ended(other, "x") == "completed"
        if way not in ("worker", "store"):
            await worker.__aexit__(None, None, None)
        if way != "store":
            await store.__aexit__(None, None, None)
    assert busy.most == 1


@pytest.mark.real_time
async def test_a_thread_that_stops_in_time_is_waited_for() -> None:
    data, busy = MemoryData(), Busy()
    async with MemoryStore(data) as other:
        async with MemoryStore(data) as store, Worker(store, flow := working(busy), poll=0.05):
            await started(flow, store, "x")
            await come(lambda: busy.running)
            threading.Timer(0.2, busy.go.set).start()
        assert not busy.running
        async with Worker(other, working(busy), poll=0.05):
            assert await ended(other, "x") == "completed"
    assert (busy.most, busy.begun) == (1, 2)


async def test_an_async_chunk_that_is_slow_to_clean_up_is_waited_for() -> None:
    data, log = MemoryData(), list[str]()

    async def work(chunk: Data) -> Any:
        log.append(f"begin {chunk.attempt}")
        try:
            if chunk.attempt == 1:
                await asyncio.sleep(10**6)
        finally:
            await asyncio.sleep(3)
            log.append(f"end {chunk.attempt}")

    async with opened(data, working(work), poll=0.1) as (store, _), MemoryStore(data) as web:
        execution = await started(working(work), web, "x")
        await asyncio.sleep(1)
        await execution.async_suspend()
        assert log[:2] == ["begin 1", "end 1"]
        assert await ended(store, "x") == "completed"
    assert log == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_a_chunk_may_suspend_its_own_execution() -> None:
    data = MemoryData()

    async def work(chunk: Data) -> Any:
        if chunk.attempt == 1:
            await chunk.execution.async_suspend()
        return chunk.attempt

    async with MemoryStore(data) as store, opened(data, working(work), poll=0.1) as (other, _):
        execution = working(work).create_execution(store=store, id="x")
        with pytest.raises(ExecutionSuspended):
            await execution.async_start(1)
        assert await ended(other, "x") == "completed"


# -- draining --------------------------------------------------------------------------------------------------------


async def test_a_drain_lets_chunks_end_and_begins_no_others() -> None:
    data, log = MemoryData(), list[str]()

    async def work(chunk: Data) -> Any:
        log.append("work")
        await asyncio.sleep(4)
        log.append("worked")

    async def then(chunk: Data) -> Any:
        log.append("then")

    async with MemoryStore(data) as other, opened(data, flow := working(work, then=then), poll=0.1) as (store, worker):
        await started(flow, store, "x")
        await asyncio.sleep(1)
        begun = asyncio.get_running_loop().time()
        await worker.drain(grace=10)
        assert asyncio.get_running_loop().time() - begun < 5
        assert log == ["work", "worked"]
        assert await owner_of(other, "x") is None
        await flow.async_submit(1, store=other, id="y")
        await asyncio.sleep(5)
        assert await owner_of(other, "y") is None  # a drained worker claims nothing
        async with Worker(other, working(work, then=then)):
            assert await ended(other, "x") == "completed"
            assert await ended(other, "y") == "completed"
    assert log.count("work") == 2


async def test_after_the_grace_the_rest_is_suspended() -> None:
    data, attempts = MemoryData(), list[int]()

    async def work(chunk: Data) -> Any:
        attempts.append(chunk.attempt)
        if chunk.attempt == 1:
            await asyncio.sleep(10**6)

    async with MemoryStore(data) as other:
        async with opened(data, flow := working(work), poll=0.1) as (store, worker):
            await started(flow, store, "x")
            await asyncio.sleep(1)
            await worker.drain(grace=3)
            assert await owner_of(other, "x") is None
        async with Worker(other, working(work)):
            assert await ended(other, "x") == "completed"
    assert attempts == [1, 2]


async def test_a_drain_parks_what_waits() -> None:
    data, flow = MemoryData(), TriggerFlow(name="asking")

    async def ask(chunk: Data) -> None:
        chunk.pause_for(interrupt_id="question")

    flow.to(("ask", ask)).end()
    async with MemoryStore(data) as other, opened(data, flow, poll=0.1) as (store, worker):
        executions = [await started(flow, store, str(number)) for number in range(5)]
        await asyncio.sleep(0.01)
        await worker.drain(grace=10)
        rows = await other.executions()
        assert {(row.status, row.owner) for row in rows} == {("waiting", None)}
        assert worker.running == 0
        del executions


SERVICE = """
import asyncio, sys
from triggerflow import TriggerFlow
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

path, how = sys.argv[1:]
flow = TriggerFlow(name="f")

async def work(data):
    print("begun", flush=True)
    await asyncio.sleep(data.value)
    return data.value

flow.to(("work", work)).to(("then", lambda data: data.value)).end()

async def serve():
    async with SQLiteStore(path) as store:
        await Worker(store, flow, poll=0.1).async_run(grace=0.3 if how == "async" else 60)

if how == "sync":
    with SQLiteStore(path) as store:
        Worker(store, flow, poll=0.1).run(grace=0.3)
else:
    asyncio.run(serve())
print("left", flush=True)
"""


def service(path: Path, how: str) -> "subprocess.Popen[str]":
    """A worker process, in which a chunk runs."""

    async def submit() -> None:
        async with SQLiteStore(path) as store:
            flow = TriggerFlow(name="f")
            flow.to(("work", str)).to(("then", str)).end()
            await flow.async_submit(600, store=store, id="x", reuse="existing")

    asyncio.run(submit())
    process = subprocess.Popen([sys.executable, "-c", SERVICE, str(path), how], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.real_time
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", ["sync", "async"])
def test_sigterm_drains_and_exits_with_0(how: str, tmp_path: Path) -> None:
    process = service(tmp_path / "runs.db", how)
    try:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "left\n")
    finally:
        process.kill()
        process.wait()

    async def owner() -> str | None:
        async with SQLiteStore(tmp_path / "runs.db") as store:
            return await owner_of(store, "x")

    assert asyncio.run(owner()) is None


@pytest.mark.real_time
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_second_sigterm_ends_the_process_at_once(tmp_path: Path) -> None:
    process = service(tmp_path / "runs.db", "long")
    try:
        while process.poll() is None:  # the second one counts when the first was taken
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        assert process.returncode == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


# -- parking ---------------------------------------------------------------------------------------------------------


class Refusing(MemoryStore):
    """A store that cannot write for a while, when executions are parked."""

    refuses = 0

    async def append(self, appends: Sequence[Append]) -> dict[str, int]:
        """See `Store.append`."""
        if self.refuses and appends and all(it.status == "waiting" and not it.records for it in appends):
            self.refuses -= 1
            raise StoreUnavailable("locked")
        return await super().append(appends)


def asking_in_a_sub_flow() -> TriggerFlow:
    flow, asking = TriggerFlow(name="asking"), TriggerFlow(name="inner")

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="question")

    asking.to(("ask", ask)).end()
    flow.to_sub_flow(asking, name="step").end()
    return flow


async def test_parking_that_fails_is_tried_again() -> None:
    data, flow = MemoryData(), asking_in_a_sub_flow()
    async with Refusing(data) as store, MemoryStore(data) as web, Worker(store, flow, poll=0.5, at_once=1) as worker:
        store.refuses = 3
        for number in range(3):
            await flow.async_submit(number, store=web, id=str(number))
        await asyncio.sleep(10)
        assert {(row.status, row.owner) for row in await web.executions()} == {("waiting", None)}
        assert worker.running == 0
        handle = await asking_in_a_sub_flow().async_resume("1", store=web)
        await handle.async_continue_with(next(iter(handle.get_pending_interrupts())), "yes")
        assert await handle.async_get_result() == "yes"


async def test_what_a_caller_has_waited_for_is_parked_afterwards() -> None:
    data, flow = MemoryData(), asking_in_a_sub_flow()
    async with opened(data, flow, poll=0.5) as (store, worker):
        execution = await started(flow, store, "x")
        with pytest.raises(TimeoutError):
            await execution.async_get_result(timeout=3)
        await asyncio.sleep(3)
        assert (worker.running, await owner_of(store, "x")) == (0, None)


# -- resources -------------------------------------------------------------------------------------------------------


def needing(log: list[str], name: str, take: Callable[[Data], Any]) -> TriggerFlow:
    """A chunk that needs a resource, in a sub-flow."""
    flow, inner = TriggerFlow(name="needing"), TriggerFlow(name="inner")

    async def use(data: Data) -> Any:
        found = take(data)
        log.append(name)
        return found

    inner.to(("use", use)).end()
    flow.to_sub_flow(inner, name="step", capture={"input": "value", "resources": {"db": "resources.db"}}).end()
    return flow


@pytest.mark.parametrize("take", [required, taken])
async def test_a_worker_without_the_resource_leaves_it_to_one_that_has_it(
    take: Callable[[Data], Any], caplog: pytest.LogCaptureFixture
) -> None:
    data, log = MemoryData(), list[str]()
    poor, rich = needing(log, "poor", take), needing(log, "rich", take)
    async with MemoryStore(data) as web, opened(data, poor, poll=0.1):
        await poor.async_submit(1, store=web, id="x")
        await asyncio.sleep(5)
        row = await web.find("x")
        assert row is not None
        assert (row.status, row.owner) == ("running", None)
        assert caplog.text.count("cannot run execution 'x'") == 1
        rich.set_runtime_resource("db", "connected")
        async with opened(data, rich, poll=0.1):
            assert await ended(web, "x") == "completed"
        assert await (await poor.async_resume("x", store=web)).async_get_result() == "connected"
    assert log == ["rich"]


async def test_a_process_that_resumes_without_the_resource_fails_nothing() -> None:
    data = MemoryData()

    async def use(chunk: Data) -> Any:
        await asyncio.sleep(1)
        return chunk.require_resource("db")

    async with MemoryStore(data) as store:
        await started(working(use), store, "x")
    async with MemoryStore(data) as store:
        with pytest.raises(ExecutionSuspended, match=r"lacks what it needs.*'db'"):
            await (await working(use).async_resume("x", store=store)).async_get_result()
        execution = await working(use).async_resume("x", store=store, runtime_resources={"db": 7})
        assert await execution.async_get_result() == 7


async def test_who_creates_it_without_the_resource_is_told() -> None:
    async def use(chunk: Data) -> Any:
        return chunk.require_resource("db")

    async with MemoryStore() as store:
        with pytest.raises(MissingResource, match="missing required runtime resource 'db'"):
            await working(use).create_execution(store=store).async_start(1)


async def test_a_chunk_may_do_without() -> None:
    async def use(chunk: Data) -> Any:
        try:
            return chunk.require_resource("db")
        except KeyError:
            return chunk.resources.get("db", "nothing")

    data, flow = MemoryData(), working(use)
    async with MemoryStore(data) as web, opened(data, working(use), poll=0.1):
        assert await (await flow.async_submit(1, store=web)).async_get_result() == "nothing"


# -- a worker that is cancelled while it begins ------------------------------------------------------------------------


@pytest.mark.real_time
@pytest.mark.parametrize("step", range(40))
async def test_a_worker_that_is_cancelled_while_it_begins_gives_all_back(open_store: Open, step: int) -> None:
    """Also executions that it has opened a moment before. A step is a turn of the loop, or time for a database."""
    flow = TriggerFlow(name="beginning")

    async def work(data: Data) -> None:
        await asyncio.sleep(10**6)

    flow.to(work).end()
    async with open_store() as store:
        for id in ("a", "b", "c"):
            await flow.async_submit(1, store=store, id=id)

        async def run() -> None:
            async with Worker(store, flow):
                await asyncio.sleep(10**6)

        task = asyncio.create_task(run())
        for _ in range(step):
            await asyncio.sleep(0 if isinstance(store, MemoryStore) else 0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [row.owner for row in await store.executions()] == [None] * 3
