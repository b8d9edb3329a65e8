"""Faults of chunks, values and programs: nothing hangs, nothing is lost silently, nothing is left behind."""

import asyncio
import dataclasses
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from tests.support import now, read
from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


async def sleeper(data: Data) -> None:
    await asyncio.sleep(100)


# -- what chunks raise -----------------------------------------------------------------------------------------------


class Unhashable(Exception):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


class Incomparable(Exception):
    __hash__ = Exception.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("has no text")

    __repr__ = __str__


class Falsy(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 5


class Quiet(Exception):
    def add_note(self, note: str) -> None:
        raise RuntimeError("takes no notes")


class Demanding(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("needs two")


class Beyond(BaseException):
    """No `Exception`, but nobody's request to exit either."""


ODD = [Unhashable(), Incomparable(), Mute(), Falsy(), Frozen(), Quiet(), Demanding(1, 2), Beyond("beyond"),
       ExceptionGroup("group", [ValueError(1)]), RecursionError("deep"), TimeoutError("its own")]  # fmt: skip


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["async", "thread", "inline"])
async def test_any_exception_reaches_waiters_and_readers_as_it_is(error: BaseException, kind: str) -> None:
    """Whatever an exception class does, it is neither looked into nor lost, and the siblings are stopped."""
    flow = TriggerFlow()

    def raises(data: Data) -> None:
        raise error

    async def raises_async(data: Data) -> None:
        raise error

    flow.to(("raises", raises_async) if kind == "async" else flow.chunk("raises", inline=kind == "inline")(raises))
    flow.to(sleeper)
    execution = flow.create_execution()
    caught: list[BaseException] = []
    for wait in (
        execution.async_start(),
        read(execution.get_async_runtime_stream()),
        execution.async_get_result(),
    ):
        try:
            await wait
        except BaseException as one:
            caught.append(one)
    assert len(caught) == 3
    assert all(one is error for one in caught)
    assert execution.get_status() == "failed"
    assert now() < 1


@pytest.mark.parametrize("error", [Mute(), Frozen(), Quiet(), Unhashable()], ids=lambda error: type(error).__name__)
async def test_any_exception_can_be_skipped(error: Exception) -> None:
    flow = TriggerFlow(skip_exceptions=True)

    async def raises(data: Data) -> None:
        raise error

    flow.batch(raises, echo).end()
    execution = flow.create_execution()
    assert await execution.async_start(1) is None
    assert [skipped.type for skipped in execution.skipped] == [type(error).__name__]


@pytest.mark.parametrize("kind", ["async", "thread", "inline"])
async def test_stop_iteration_does_not_vanish(kind: str) -> None:
    """`next()` on an empty iterator: the one exception that coroutines and futures cannot carry."""
    flow = TriggerFlow()

    def empty(data: Data) -> Any:
        return next(iter(()))

    async def empty_async(data: Data) -> Any:
        return next(iter(()))

    flow.to(("empty", empty_async) if kind == "async" else flow.chunk("empty", inline=kind == "inline")(empty))
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        await flow.async_start()
    assert "'empty'" in " ".join(caught.value.__notes__)


async def test_stop_async_iteration_does_not_pass_for_the_end_of_a_stream() -> None:
    """A reader that got it as it is would end as if all were well: "it never ends silently" (S16)."""
    flow = TriggerFlow()

    async def empty(data: Data) -> Any:
        raise StopAsyncIteration

    flow.to(empty)
    execution = flow.create_execution()
    with pytest.raises((RuntimeError, StopAsyncIteration)):
        await execution.async_start()
    with pytest.raises(RuntimeError):
        await read(execution.get_async_runtime_stream())


@pytest.mark.parametrize("way", ["raises it", "awaits a cancelled task", "in a thread"])
async def test_a_chunk_that_raises_cancelled_error_itself_has_failed(way: str) -> None:
    """Nobody cancelled the execution or its waiters. A waiter that got a bare `CancelledError` would pass for
    cancelled: a task group would then end in silence, as if all had gone well."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> None:
        if way == "raises it":
            raise asyncio.CancelledError("mine")
        task = asyncio.ensure_future(asyncio.sleep(100))
        task.cancel()
        await task

    def thread(data: Data) -> None:
        raise asyncio.CancelledError("mine")

    flow.batch(("chunk", thread if way == "in a thread" else chunk), sleeper)
    execution = flow.create_execution()
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(execution.async_start())
    assert execution.get_status() == "failed"
    assert "'chunk'" in " ".join(caught.value.exceptions[0].__notes__)
    with pytest.raises(Exception):  # noqa: B017, PT011 - any but CancelledError, which is none
        await anext(execution.get_async_runtime_stream())
    assert now() < 1


async def test_a_chunk_whose_own_timeout_expires_has_failed_with_it() -> None:
    """A `TimeoutError` of a chunk is not the time-out of the call; it fails the execution, and does not cancel it."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(10)

    flow.to(chunk)
    with pytest.raises(TimeoutError) as caught:
        await flow.async_start(timeout=100)
    assert "'chunk'" in " ".join(caught.value.__notes__)
    execution = flow.create_execution()
    with pytest.raises(TimeoutError):
        await execution.async_start()
    assert execution.get_status() == "failed"


async def test_an_exception_raised_again_and_again_does_not_grow() -> None:
    """One exception object, a constant of its module, say: runs and waiters do not pile notes and tracebacks on it."""
    error = ValueError("always the same")
    flow = TriggerFlow(skip_exceptions=True)

    async def source(data: Data) -> None:
        for _ in range(100):
            await data.async_emit("e")

    async def raises(data: Data) -> None:
        raise error

    flow.to(source)
    flow.when("e").to(raises)
    await flow.async_start()
    assert len(getattr(error, "__notes__", [])) <= 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["async", "thread", "branch"])
def test_a_request_to_exit_ends_the_program_in_order(
    kind: type[BaseException], where: str, run: Callable[[Any], Any]
) -> None:
    """It passes through, as from any coroutine; what else ran has been cleaned up, and nothing is left behind."""
    flow, seen = TriggerFlow(), list[str]()

    async def careful(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            seen.append("cleaned up")

    async def leave(data: Data) -> None:
        await asyncio.sleep(1)
        raise kind

    def leave_thread(data: Data) -> None:
        raise kind

    flow.batch(careful, ("leave", leave_thread if where == "thread" else leave))
    execution = flow.create_execution()

    async def main() -> None:
        await asyncio.gather(execution.async_start(), read(execution.get_async_runtime_stream()))

    with pytest.raises(kind):
        run(main())
    assert seen == ["cleaned up"]
    assert execution.get_status() in ("failed", "cancelled")


# -- readers ---------------------------------------------------------------------------------------------------------


async def test_an_exception_in_a_reader_is_the_readers_own() -> None:
    """The execution goes on, other readers see everything, and the result comes."""
    flow = TriggerFlow()

    async def source(data: Data) -> str:
        for number in range(10):
            await data.async_put_into_stream(number)
            await asyncio.sleep(1)
        return "done"

    flow.to(source).end()
    execution = flow.create_execution()

    async def reading() -> None:
        async for item in execution.get_async_runtime_stream("go", buffer=1):
            if item == 2:
                raise KeyError("in the reader")

    other = asyncio.create_task(read(execution.get_async_runtime_stream("go")))
    with pytest.raises(KeyError):
        await reading()
    assert await other == list(range(10))
    assert await execution.async_get_result() == "done"


async def test_an_item_that_cannot_be_shown_or_compared_passes() -> None:
    class Item:
        def __repr__(self) -> str:
            raise RuntimeError("not shown")

        __eq__ = __bool__ = __len__ = __repr__  # type: ignore[assignment]
        __hash__ = None  # type: ignore[assignment]

    item, flow = Item(), TriggerFlow()

    async def source(data: Data) -> Any:
        data.state.set("k", data.value)
        data.state.append("list", data.value)
        await data.async_put_into_stream(data.value)
        await data.async_emit("e", data.value, settle=True)
        return data.value

    flow.to(source).batch(echo, ("other", echo)).end()
    flow.when(["e", "f"]).to(("joined", echo))
    execution = flow.create_execution()
    assert (await read(execution.get_async_runtime_stream(item)))[0] is item
    result = await execution.async_start(item)
    assert result["echo"] is result["other"] is item
    assert execution.state.get("k") is item


# -- context variables -----------------------------------------------------------------------------------------------

user: ContextVar[Any] = ContextVar("user")


async def test_context_variables_of_chunks_are_isolated() -> None:
    """Every chunk sees the context in which the execution was started: not that of the chunk before, beside or around
    it."""
    flow, seen = TriggerFlow(), list[Any]()

    async def change(data: Data) -> None:
        seen.append(user.get())
        user.set(data.chunk_name)
        await data.async_emit("e", settle=True)
        assert user.get() == data.chunk_name

    user.set("start")
    flow.to(("one", change)).to(("two", change)).batch(("three", change), ("four", change)).to(("five", change))
    flow.when("e").to(("heard", lambda data: seen.append(user.get())))
    await flow.async_start()
    assert seen == ["start"] * 10
    assert user.get() == "start"


@pytest.mark.parametrize("kind", ["equal", "incomparable"])
async def test_context_variables_with_odd_values_are_isolated_too(kind: str) -> None:
    """An equal object is another object; and one that refuses to be compared holds nobody up."""

    class Value:
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            if kind == "incomparable":
                raise RuntimeError("cannot be compared")
            return True

    first = Value()
    flow, seen = TriggerFlow(), list[Any]()

    async def change(data: Data) -> None:
        seen.append(user.get())
        user.set(Value())

    user.set(first)
    process = flow.to(("one", change))
    for name in ("two", "three", "four"):
        process = process.to((name, change))
    await flow.async_start()
    assert len(seen) == 4
    assert all(value is first for value in seen)


async def test_concurrent_executions_keep_their_contexts() -> None:
    """A request's context goes with its execution, through events, state and threads."""
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        await asyncio.sleep(1)
        data.state.set("k", data.value)

    flow.to(source)
    flow.when({"runtime_data": "k"}).to(("check", lambda data: (data.value, user.get()))).end()

    async def request(number: int) -> None:
        user.set(number)
        assert await flow.async_start(number) == (number, number)

    await asyncio.gather(*(request(number) for number in range(20)))
