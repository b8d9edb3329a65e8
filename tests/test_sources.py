"""Lazy for_each sources: where they are read, what they may hold while they are read, and how they are closed."""

import asyncio
import contextlib
import contextvars
import gc
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from tests.support import now, turns
from tests.virtual_time import VirtualTimeLoop
from triggerflow import Execution, Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ExecutionCancelled
from triggerflow.stores import MemoryStore

Data = TriggerFlowRuntimeData[Any]
KINDS = ["sync", "async"]


async def echo(data: Data) -> Any:
    return data.value


def each(body: Any = echo, *, concurrency: int | None = None, name: str = "each") -> TriggerFlow:
    flow = TriggerFlow(name=name)
    flow.for_each(concurrency=concurrency).to(("body", body)).end_for_each().end()
    return flow


def threads() -> set[int]:
    return {thread.ident or 0 for thread in threading.enumerate()}


# -- sync iterables ----------------------------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_a_sync_iterable_does_not_stop_the_loop() -> None:
    """S13: "Sync code never runs on the loop": that of an iterable neither, however long an item takes."""
    running = asyncio.create_task(each().async_start(blocking(20, 0.01)))
    worst, last = 0.0, time.monotonic()
    while not running.done():
        await asyncio.sleep(0.001)
        worst, last = max(worst, time.monotonic() - last), time.monotonic()
    assert await running == list(range(20))
    assert worst < 0.1, "the items together take 0.2 s"


def blocking(count: int, seconds: float) -> Iterator[int]:
    for number in range(count):
        time.sleep(seconds)
        yield number


@pytest.mark.real_time
@pytest.mark.parametrize("concurrency", [None, 3])
async def test_the_first_item_starts_as_soon_as_it_is_here(concurrency: int | None) -> None:
    """S10: "lazily": an item does not wait for those that come after it, whatever room there is for them."""
    begun, gate = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert begun.wait(20), "the first item waits for the second"
        yield 2
        gate.set()

    async def body(data: Data) -> Any:
        begun.set()
        return data.value

    assert await each(body, concurrency=concurrency).async_start(items()) == [1, 2]
    assert gate.is_set()


@pytest.mark.parametrize("concurrency", [1, 4, None])
async def test_one_thread_reads_a_source_from_its_first_item_to_its_closing(concurrency: int | None) -> None:
    """ "one thread for its whole life, because what it is made of may belong to a thread": SQLite checks that."""
    seen = set[int]()

    def rows() -> Iterator[Any]:
        connection = sqlite3.connect(":memory:")  # it may be used in this thread only
        try:
            connection.execute("CREATE TABLE t (n)")
            connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(200)])
            for row in connection.execute("SELECT n FROM t ORDER BY n"):
                seen.add(threading.get_ident())
                yield row[0]
        finally:
            seen.add(threading.get_ident())
            connection.close()

    async def body(data: Data) -> Any:
        await asyncio.sleep(0.001 if data.value % 7 == 0 else 0)
        return data.value

    assert await each(body, concurrency=concurrency).async_start(rows()) == list(range(200))
    assert len(seen) == 1
    assert threading.get_ident() not in seen
    seen.clear()
    execution = each(body, concurrency=2).create_execution()
    execution.begin(rows())
    await asyncio.sleep(0.005)
    await execution.async_cancel()
    assert len(seen) == 1, "it was closed in the thread that has read it"


async def test_an_iterable_that_is_no_generator_is_read_in_a_thread() -> None:
    """Its `__iter__` and `__next__` are code of a user, too; so is a sequence that is none of the builtin ones."""
    seen = set[int]()

    class Pages:
        def __iter__(self) -> Iterator[int]:
            seen.add(threading.get_ident())
            return map(self.page, range(3))

        def page(self, number: int) -> int:
            seen.add(threading.get_ident())
            return number

    class Indexed:
        def __getitem__(self, index: int) -> int:
            seen.add(threading.get_ident())
            if index == 3:
                raise IndexError
            return index

    assert await each().async_start(Pages()) == [0, 1, 2]
    assert await each().async_start(Indexed()) == [0, 1, 2]
    assert threading.get_ident() not in seen


IN_MEMORY: dict[str, Any] = {
    "set": {1, 2, 3}, "frozenset": frozenset({1, 2, 3}), "deque": deque([1, 2, 3]), "keys": {1: 0, 2: 0, 3: 0}.keys(),
    "values": {0: 1, 1: 2, 2: 3}.values(), "ordered": OrderedDict[int, int]({1: 0, 2: 0, 3: 0}).keys(),
    "iterator of a list": iter([1, 2, 3]), "iterator of a tuple": iter((1, 2, 3)),
    "iterator of a range": iter(range(1, 4)), "iterator of a set": iter({1, 2, 3}),
    "iterator of a dict": iter({1: 0, 2: 0, 3: 0}), "reversed": reversed([3, 2, 1]),
    "list": [1, 2, 3], "tuple": (1, 2, 3), "range": range(1, 4),
}  # fmt: skip


@pytest.mark.parametrize("kind", IN_MEMORY)
async def test_what_is_in_memory_needs_no_thread(kind: str) -> None:
    """ "What is in memory ... is read on the event loop": a thread would cost more than all the rest."""
    before = threads()
    assert await each(concurrency=2).async_start(IN_MEMORY[kind]) == [1, 2, 3]
    assert threads() <= before


async def test_items_before_an_error_are_run() -> None:
    """What was read is not lost with what comes after it."""
    ran = list[Any]()

    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("broken")

    async def body(data: Data) -> None:
        ran.append(data.value)

    flow = each(body)
    routed = list[Any]()

    async def handle(data: Data) -> None:
        routed.append(data.value["message"])

    flow.on_error(handle)
    await flow.async_start(items())
    assert ran == [0, 1, 2, 3, 4]
    assert routed == ["broken"]


async def test_a_generator_may_use_the_engine() -> None:
    """In its thread it may wait for a flow, as a sync chunk may."""
    inner = TriggerFlow()
    inner.to(lambda data: data.value * 2).end()

    def items() -> Iterator[int]:
        for number in range(5):
            yield inner.start(number)

    assert await each().async_start(items()) == [0, 2, 4, 6, 8]


async def test_many_sources_at_once() -> None:
    """Sources within sources, each with a thread while it is open."""
    flow = TriggerFlow()

    def rows(data: Data) -> Iterator[Any]:
        return (data.value * 10 + number for number in range(3))

    process = flow.for_each().to(flow.chunk("rows", inline=True)(rows)).for_each(concurrency=2).to(echo)
    process.end_for_each().end_for_each().end()
    result = await flow.async_start(number for number in range(50))
    assert result == [[outer * 10 + inner for inner in range(3)] for outer in range(50)]


tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_sees_the_context_of_its_execution_and_keeps_its_own(kind: str) -> None:
    """ "context variables may span several items": what it sets is there at its next item, and in no chunk."""
    seen, bodies = list[Any](), list[Any]()
    tenant.set("acme")

    def items() -> Iterator[int]:
        seen.append(tenant.get())
        for number in range(3):
            token = tenant.set(f"item {number}")
            yield number
            seen.append(tenant.get())
            tenant.reset(token)

    async def async_items() -> AsyncIterator[int]:
        seen.append(tenant.get())
        for number in range(3):
            token = tenant.set(f"item {number}")
            yield number
            seen.append(tenant.get())
            tenant.reset(token)

    async def body(data: Data) -> None:
        bodies.append(tenant.get())

    await each(body, concurrency=1).async_start(items() if kind == "sync" else async_items())
    assert seen == ["acme", "item 0", "item 1", "item 2"]
    assert bodies == ["acme"] * 3


# -- async iterables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [None, 1, 3])
async def test_one_task_reads_an_async_source(concurrency: int | None) -> None:
    """ "in a task, one for its whole life"."""
    tasks = list[Any]()

    async def items() -> AsyncIterator[int]:
        try:
            for number in range(20):
                tasks.append(asyncio.current_task())
                yield number
                await asyncio.sleep(0.01)
        finally:
            tasks.append(asyncio.current_task())

    assert await each(concurrency=concurrency).async_start(items()) == list(range(20))
    assert len(set(tasks)) == 1
    assert len(tasks) == 21


async def in_a_timeout() -> AsyncIterator[int]:
    async with asyncio.timeout(100):
        for number in range(4):
            yield number
            await asyncio.sleep(1)


async def in_a_task_group() -> AsyncIterator[int]:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1))
        for number in range(4):
            yield number


async def in_a_cancel_scope() -> AsyncIterator[int]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 1)
        with anyio.fail_after(100):
            for number in range(4):
                yield number


@pytest.mark.parametrize("make", [in_a_timeout, in_a_task_group, in_a_cancel_scope])
@pytest.mark.parametrize("concurrency", [None, 1])
async def test_what_spans_several_items_works(make: Callable[[], Any], concurrency: int | None) -> None:
    """ "so that time-outs, task groups and context variables may span several items"."""
    assert await each(concurrency=concurrency).async_start(make()) == [0, 1, 2, 3]


@pytest.mark.parametrize("while_", ["it gives an item", "nobody asks it"])
async def test_a_time_out_of_a_source_ends_it(while_: str) -> None:
    """It ends the source with `TimeoutError`, and not the execution as cancelled, also while the chunks are at work."""
    cleaned = list[str]()

    async def items() -> AsyncIterator[int]:
        try:
            async with asyncio.timeout(10):
                yield 1
                if while_ == "it gives an item":
                    await asyncio.sleep(100)
                yield 2
        finally:
            cleaned.append("cleaned up")

    async def body(data: Data) -> None:
        await asyncio.sleep(20)

    execution = each(body, concurrency=2 if while_ == "it gives an item" else 1).create_execution()
    with pytest.raises(TimeoutError):
        await execution.async_start(items())
    assert now() == (10 if while_ == "it gives an item" else 20)
    assert execution.get_status() == "failed"
    assert cleaned == ["cleaned up"]


async def test_a_task_group_of_a_source_that_fails_ends_it() -> None:
    """What a source does beside its items counts, whatever the chunks do meanwhile."""

    async def fail() -> None:
        await asyncio.sleep(5)
        raise ValueError("beside")

    async def items() -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            for number in range(10):
                yield number

    async def body(data: Data) -> None:
        await asyncio.sleep(3)

    with pytest.raises(ExceptionGroup) as caught:
        await each(body, concurrency=1).async_start(items())
    assert str(caught.value.exceptions[0]) == "beside"


class Bare:
    """An async iterator with nothing but what it must have."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.left = count
        self.error = error

    def __aiter__(self) -> "Bare":
        return self

    async def __anext__(self) -> int:
        await asyncio.sleep(1)
        if not self.left:
            raise self.error or StopAsyncIteration
        self.left -= 1
        return self.left


async def test_an_async_iterator_that_is_no_generator() -> None:
    """It has neither `aclose` nor `athrow`; it can be left all the same."""
    assert await each().async_start(Bare(3)) == [2, 1, 0]
    with pytest.raises(ValueError, match="broken"):
        await each().async_start(Bare(2, ValueError("broken")))
    execution = each(concurrency=1).create_execution()
    execution.begin(Bare(100))
    await asyncio.sleep(2.5)
    await execution.async_cancel()
    assert now() < 15


# -- closing -----------------------------------------------------------------------------------------------------------


def source(log: list[str], kind: str, *, wait: bool = False, error: BaseException | None = None) -> Any:
    """Numbers from a source whose clean-up takes its time; with `wait` its second item never comes."""
    never = threading.Event()

    def items() -> Iterator[int]:
        try:
            for number in range(100):
                if wait and number == 1:
                    never.wait(0.3)
                yield number
        finally:
            time.sleep(0.01)
            log.append("closed")
            if error is not None:
                raise error

    async def async_items() -> AsyncIterator[int]:
        try:
            for number in range(100):
                if wait and number == 1:
                    await asyncio.sleep(1_000)
                yield number
        finally:
            await asyncio.sleep(2)
            log.append("closed")
            if error is not None:
                raise error

    return items() if kind == "sync" else async_items()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wait", [False, True], ids=["resting", "waiting"])
@pytest.mark.parametrize("end", ["cancel", "failure", "time-out", "close of the loop"])
async def test_the_execution_has_ended_when_its_sources_are_closed(kind: str, wait: bool, end: str) -> None:
    """S8: clean-up is waited for, that of a source, too: "the execution ends after that"."""
    log = list[str]()

    async def body(data: Data) -> None:
        await asyncio.sleep(5)
        if end == "failure":
            raise ValueError("broken")
        await asyncio.sleep(100)

    flow = each(body, concurrency=2)
    if end == "time-out":
        with pytest.raises(TimeoutError):
            await flow.async_start(source(log, kind, wait=wait), timeout=10)
        log.append("ended")
    elif end == "failure":
        with pytest.raises(ValueError, match="broken"):
            await flow.async_start(source(log, kind, wait=wait))
        log.append("ended")
    elif end == "cancel":
        execution = flow.create_execution()
        execution.begin(source(log, kind, wait=wait))
        await asyncio.sleep(6)
        result = asyncio.create_task(execution.async_get_result())
        other = asyncio.create_task(execution.async_cancel())
        await execution.async_cancel()
        log.append("ended")
        await other
        with pytest.raises(ExecutionCancelled):
            await result
    else:
        in_a_loop_of_its_own(flow, source(log, kind, wait=wait))
        log.append("ended")
    assert log == ["closed", "ended"]


def in_a_loop_of_its_own(flow: TriggerFlow, items: Any) -> None:
    """What `asyncio.run` does when the program is through."""

    async def main() -> None:
        execution = flow.create_execution()
        execution.begin(items)
        await asyncio.sleep(6)
        in_a_loop_of_its_own.execution = execution  # type: ignore[attr-defined]

    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert in_a_loop_of_its_own.execution.get_status() == "cancelled"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_loop_that_ends_while_only_a_source_is_at_work(kind: str) -> None:
    """No chunk runs, and the task of the source is cancelled with the loop: the execution is, too."""
    log = list[str]()
    seen = list[Execution]()

    async def main() -> None:
        execution = each(concurrency=1).create_execution()
        seen.append(execution)
        execution.begin(source(log, kind, wait=True))
        await asyncio.sleep(0.1)

    def in_thread() -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join(20)
    assert seen[0].get_status() == "cancelled"
    assert log == ["closed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wait", [False, True], ids=["resting", "waiting"])
async def test_a_source_that_was_taken_back_is_closed_before_the_end(kind: str, wait: bool) -> None:
    """A pass that a provisional signal began ends with it; the execution ends when the source is closed."""
    log, flow = list[str](), TriggerFlow()

    async def guess(data: Data) -> None:
        number = await data.async_emit("rows", source(log, kind, wait=wait), provisional=True)
        await asyncio.sleep(1)
        await data.async_retract(number, "it was another one")

    flow.to(guess)
    flow.when("rows").for_each(concurrency=2).to(sleeper).end_for_each()
    await flow.async_start()
    log.append("ended")
    assert log == ["closed", "ended"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_source_raises_when_it_is_closed_is_logged(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """ "An exception that closing raises is logged", and changes nothing."""
    log = list[str]()

    async def body(data: Data) -> None:
        raise ValueError("the failure")

    with pytest.raises(ValueError, match="the failure"):
        await each(body, concurrency=1).async_start(source(log, kind, error=OSError("cannot be closed")))
    assert log == ["closed"]
    assert "closing failed" in caplog.text
    assert "cannot be closed" in caplog.text
    assert "of flow 'each'" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_that_does_not_close_holds_nobody_up_for_long(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It has as long as clean-up may take; then the execution ends, and a log line says so."""
    gate = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            gate.wait(20)

    async def async_items() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            await asyncio.sleep(1_000)

    async def body(data: Data) -> None:
        await asyncio.sleep(1)
        raise ValueError("broken")

    execution = each(body, concurrency=1).create_execution(cleanup_timeout=0.3)
    with pytest.raises(ValueError, match="broken"):
        await execution.async_start(items() if kind == "sync" else async_items())
    assert now() < 5
    assert "not closed within 0.3 s" in caplog.text
    gate.set()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_may_cancel_the_execution_that_reads_it(kind: str) -> None:
    """From its own task or thread: it is closed like any other."""
    log, flow = list[str](), each(concurrency=1)
    execution = flow.create_execution()

    def items() -> Iterator[int]:
        try:
            yield 1
            execution.cancel()
            yield 2
        finally:
            log.append("closed")

    async def async_items() -> AsyncIterator[int]:
        try:
            yield 1
            await execution.async_cancel()
            yield 2
        finally:
            await asyncio.sleep(1)
            log.append("closed")

    with pytest.raises(ExecutionCancelled):
        await execution.async_start(items() if kind == "sync" else async_items())
    assert log == ["closed"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_suspended_execution_closes_its_sources(kind: str) -> None:
    """What does not run here any more reads nothing here any more."""
    log, flow = list[str](), TriggerFlow(name="pages")

    def numbers() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            log.append("closed")

    async def async_numbers() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            log.append("closed")

    made = flow.source(numbers if kind == "sync" else async_numbers, name="numbers")

    async def plan(data: Data) -> Any:
        return made()

    async def body(data: Data) -> None:
        await asyncio.sleep(10)

    flow.to(plan).for_each(concurrency=1).to(body).end_for_each()
    async with MemoryStore() as store:
        execution = flow.create_execution(store=store)
        await execution.async_begin()
        await asyncio.sleep(15)
        await execution.async_suspend()
        await asyncio.sleep(1)
        assert log == ["closed"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_execution_that_everybody_has_forgotten_closes_its_sources(kind: str) -> None:
    """ "one that everybody has forgotten can go, and its feeds are closed": no task, no thread is left."""
    log, flow = list[str](), TriggerFlow()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    flow.for_each(concurrency=1).to(ask).end_for_each()

    async def begin() -> weakref.ref[Execution]:
        execution = flow.create_execution()
        execution.begin(source(log, kind))
        await asyncio.sleep(1)
        assert execution.get_pending_interrupts()
        return weakref.ref(execution)

    execution = await begin()
    gc.collect()
    assert execution() is None
    await asyncio.sleep(5)
    await asyncio.to_thread(time.sleep, 0.05)  # the thread of a source closes it in its own time
    assert log == ["closed"]
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wait", [False, True], ids=["resting", "waiting"])
def test_a_loop_that_is_closed_under_a_source_goes_in_silence(kind: str, wait: bool) -> None:
    """Nothing complains of what was pending, whether somebody looks at the execution afterwards or not."""
    for look in (True, False):
        execution = each(sleeper, concurrency=1).create_execution()

        async def main(execution: Execution = execution) -> None:
            execution.begin(source([], kind, wait=wait))
            await turns()

        loop = VirtualTimeLoop()
        loop.run_until_complete(main())
        loop.close()
        if look:
            assert execution.get_status() == "cancelled"
        del execution, main
        gc.collect()


@pytest.mark.parametrize("look", [True, False])
@pytest.mark.parametrize("count", range(4))
def test_a_loop_that_is_closed_before_its_workers_have_begun_goes_in_silence(count: int, look: bool) -> None:
    """Nothing complains of the workers that would have run these items."""
    flow = TriggerFlow()

    async def items(data: Data) -> list[int]:
        return list(range(8))

    flow.to(items).for_each().to(sleeper).end_for_each()
    execution = flow.create_execution()

    async def main(execution: Execution = execution) -> None:
        execution.begin(None)
        await turns(count)

    loop = VirtualTimeLoop()
    loop.run_until_complete(main())
    loop.close()
    if look:
        assert execution.get_status() == "cancelled"
    del execution, main
    gc.collect()


async def sleeper(data: Data) -> None:
    await asyncio.sleep(100)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_thread_and_no_task_is_left_of_a_source(kind: str) -> None:
    """However it has ended."""
    log = list[str]()

    async def fail(data: Data) -> None:
        raise ValueError("broken")

    for body in (echo, fail):
        for _ in range(20):
            with contextlib.suppress(ValueError):
                await each(body, concurrency=2).async_start(source(log, kind))
    assert len(log) == 40
    await turns()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert sum(thread.name.startswith("triggerflow-chunk") for thread in threading.enumerate()) < 40


async def test_a_pass_that_is_tried_again_reads_its_source_anew() -> None:
    """A chunk that makes a source and is retried makes another one; each is read by one reader."""
    log, flow = list[str](), TriggerFlow()

    @flow.chunk("plan", retry=Retry(2, initial_interval=1))
    async def plan(data: Data) -> Any:
        if data.attempt == 1:
            raise ValueError("once")
        return source(log, "async")

    flow.to(plan).for_each(concurrency=3).to(echo).end_for_each().end()
    assert await flow.async_start() == list(range(100))
    assert log == ["closed"]


def test_a_program_that_ends_in_the_middle_of_a_source_ends_soon_and_quietly() -> None:
    """The thread of a source is waited for by its execution only."""
    script = """
        import asyncio, time
        from triggerflow import TriggerFlow

        flow = TriggerFlow()

        async def body(data):
            print("item", data.value)

        flow.for_each().to(body).end_for_each()

        def items():
            yield 1
            time.sleep(30)
            yield 2

        async def main():
            execution = flow.create_execution(cleanup_timeout=0.2)
            execution.begin(items())
            await asyncio.sleep(0.3)
            await execution.async_cancel()

        asyncio.run(main())
        print("end")
    """
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-Werror", "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("item 1\nend\n", 0)
    assert [line for line in done.stderr.splitlines() if "not closed within 0.2 s" not in line] == []
    assert time.monotonic() - begun < 20
