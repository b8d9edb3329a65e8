"""Step by step as plain asyncio does it: cancellations, exits, tracebacks, context, readers that are left."""

import asyncio
import contextvars
import copy
import logging
import pickle  # noqa: TID251 - users pickle errors, in multiprocessing for example
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from typing import Any

import pytest

from triggerflow import TriggerFlow
from triggerflow.errors import ExecutionCancelled, ExecutionSuspended, TriggerFlowError, UsageError
from triggerflow.models import errors as model_errors
from triggerflow.stores import MemoryStore, SQLiteStore


def classes(of: type[BaseException]) -> list[type[BaseException]]:
    return [of, *(found for sub in of.__subclasses__() for found in classes(sub))]


def frames(error: BaseException) -> int:
    return len(list(traceback.walk_tb(error.__traceback__)))


def _pickled(error: Any) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - it was made in this line


# -- errors ------------------------------------------------------------------------------------------------------------


MADE: dict[type[BaseException], Callable[[], BaseException]] = {
    ExecutionCancelled: lambda: ExecutionCancelled("why", "run-1"),
    model_errors.RateLimitError: lambda: model_errors.RateLimitError("busy", status=429, retry_after=2.5),
    model_errors.AnswerError: lambda: model_errors.AnswerError("no", text="{", data=None),
    model_errors.TruncatedResponseError: lambda: model_errors.TruncatedResponseError(
        "cut", text="{", data={"a": 1}, finish_reason="length"
    ),
    model_errors.InvalidResponseError: lambda: model_errors.InvalidResponseError(
        "wrong", text="{}", data={}, missing=["title"]
    ),
}


@pytest.mark.parametrize("kind", classes(TriggerFlowError), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("again", [_pickled, copy.copy, copy.deepcopy])
def test_every_error_is_equal_after_pickle_and_copy(kind: Any, again: Callable[[Any], Any]) -> None:
    make = MADE.get(kind)
    if make is None:
        try:
            error: BaseException = kind("what happened")
        except TypeError:
            pytest.skip(f"{kind.__name__} is made by its subclasses")
    else:
        error = make()
    error.add_note("in chunk 'a'")
    same = again(error)
    assert type(same) is kind
    assert (str(same), same.args, vars(same)) == (str(error), error.args, vars(error))


async def test_a_failure_that_is_asked_for_often_has_the_same_traceback_each_time() -> None:
    flow = TriggerFlow(name="t")

    async def bad(data: Any) -> None:
        raise ValueError("x")

    flow.to(bad).end()
    execution = flow.create_execution()
    seen = list[int]()
    for ask in (execution.async_start, *[execution.async_get_result] * 20):
        with pytest.raises(ValueError, match="x") as raised:
            await ask()
        seen.append(frames(raised.value))
    assert len(set(seen[1:])) == 1
    assert seen[0] < seen[1] + 5


async def test_a_failure_that_many_wait_for_and_read_does_not_grow() -> None:
    flow, constant = TriggerFlow(name="t"), ValueError("a constant of its module")

    async def bad(data: Any) -> None:
        await asyncio.sleep(0)
        raise constant

    flow.to(bad)
    execution = flow.create_execution()

    async def read() -> None:
        async for _ in execution.get_async_runtime_stream():
            pass

    waiting = [execution.async_start() for _ in range(50)]
    await asyncio.gather(*waiting, *(read() for _ in range(50)), return_exceptions=True)
    assert frames(constant) < 20
    for _ in range(5):
        await asyncio.gather(flow.async_start(), return_exceptions=True)
    assert len(constant.__notes__) == 1


async def test_the_notes_of_a_failure_in_a_sub_flow_name_both_places() -> None:
    inner, outer, constant = TriggerFlow(name="inner"), TriggerFlow(name="outer"), ValueError("x")

    async def bad(data: Any) -> None:
        raise constant

    inner.to(bad).end()
    outer.to_sub_flow(inner).end()
    for _ in range(3):
        with pytest.raises(ValueError, match="x"):
            await outer.async_start()
    assert [note.partition(" of ")[0] for note in constant.__notes__] == ["in chunk 'bad'", "in chunk 'inner'"]


# -- cancellation and exits --------------------------------------------------------------------------------------------


async def test_a_chunk_that_cancels_its_own_task_and_goes_on_counts() -> None:
    """Time-outs of older libraries do this. Their value counts, and so does all that follows."""
    flow = TriggerFlow(name="t")

    async def old_timeout(data: Any) -> str:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "timed out"
        return "never"

    async def after(data: Any) -> str:
        await asyncio.sleep(0)
        return f"{data.value}, went on"

    flow.to(old_timeout).to(after).end()
    assert await flow.async_start() == "timed out, went on"


def test_a_loop_that_shuts_down_still_cancels_a_chunk_that_swallows_it() -> None:
    flow, ran = TriggerFlow(name="t"), list[str]()

    async def stubborn(data: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ran.append("swallowed")

    flow.to(stubborn).to(lambda data: ran.append("after"))
    execution = flow.create_execution()

    async def main() -> None:
        execution.begin()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert ran == ["swallowed"]
    assert execution.get_status() == "cancelled"


@pytest.mark.parametrize("sync", [True, False])
async def test_a_generator_exit_of_a_chunk_is_its_failure(sync: bool) -> None:
    flow = TriggerFlow(name="t")

    def leaves(data: Any) -> None:
        raise GeneratorExit("out of a helper")

    async def leaves_async(data: Any) -> None:
        leaves(data)

    flow.to(leaves if sync else leaves_async).end()
    execution = flow.create_execution()
    with pytest.raises(GeneratorExit, match="out of a helper"):
        await execution.async_start()
    assert execution.get_status() == "failed"


async def test_a_chunk_that_changes_its_context_does_not_change_the_order_of_starts() -> None:
    """S1: runs start in the order of their signals."""
    variable, flow, order = contextvars.ContextVar[int]("variable"), TriggerFlow(name="t"), list[int]()

    async def first(data: Any) -> None:
        variable.set(1)
        for number in range(5):
            await data.async_emit("next", number)

    async def step(data: Any) -> None:
        order.append(data.value)
        variable.set(data.value)

    flow.to(first)
    flow.when("next").to(step)
    await flow.async_start()
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("way", ["settle", "back-pressure", "slow reader"])
async def test_a_time_out_is_told_at_its_time_also_while_the_chunk_waits_for_a_permit(way: str) -> None:
    flow, loop = TriggerFlow(name="t"), asyncio.get_running_loop()

    @flow.chunk("a", timeout=0.1)
    async def a(data: Any) -> None:
        for number in range(100):
            if way == "slow reader":
                await data.async_put_into_stream(number)
            else:
                await data.async_emit("long", settle=way == "settle")

    async def long(data: Any) -> None:
        await asyncio.sleep(1)

    flow.to(a)
    flow.when("long").to(long)
    execution = flow.create_execution(concurrency=1, max_pending=2)
    reader = execution.get_async_runtime_stream(None, buffer=1)
    if way == "slow reader":
        await anext(reader)
    begin = loop.time()
    with pytest.raises(TimeoutError, match="did not finish within its timeout"):
        await execution.async_start()
    assert loop.time() - begin < 0.5


# -- pauses ------------------------------------------------------------------------------------------------------------


async def gathered(ask: Callable[[str], Any]) -> None:
    await asyncio.gather(ask("a"), ask("b"))


async def grouped(ask: Callable[[str], Any]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ask("a"))


async def in_a_task(ask: Callable[[str], Any]) -> None:
    await asyncio.create_task(ask("a"))


@pytest.mark.parametrize("how", [gathered, grouped, in_a_task])
async def test_a_pause_in_another_task_is_an_error_that_names_the_way(how: Callable[..., Any]) -> None:
    flow = TriggerFlow(name="t")

    async def chunk(data: Any) -> None:
        async def ask(name: str) -> None:
            data.pause_for(interrupt_id=name)

        await how(ask)

    flow.to(chunk).end()
    execution = flow.create_execution()
    with pytest.raises((UsageError, ExceptionGroup)) as raised:
        await execution.async_start()
    error = raised.value.exceptions[0] if isinstance(raised.value, ExceptionGroup) else raised.value
    assert isinstance(error, UsageError)
    assert "for_each()" in str(error)


@pytest.mark.parametrize("resume_to", ["next", "self", {"event": "answer"}])
async def test_a_pause_in_a_condition_is_refused(resume_to: Any) -> None:
    flow = TriggerFlow(name="t")

    async def allowed(data: Any) -> None:
        data.pause_for(resume_to=resume_to)

    flow.if_condition(allowed).to(lambda data: "yes").else_condition().to(lambda data: "no").end_condition().end()
    with pytest.raises(UsageError, match="condition 'allowed' cannot pause; ask in a chunk before it"):
        await flow.create_execution().async_start()


async def test_the_stream_tells_that_a_question_has_expired() -> None:
    flow = TriggerFlow(name="t")

    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id="q", expires=60)

    flow.to(("ask", ask))
    flow.on_error(lambda data: data.value["type"]).end()
    execution = flow.create_execution()
    items = [item async for item in execution.get_async_runtime_stream(None)]
    assert [(item["action"], item["interrupt"]["status"]) for item in items] == [
        ("pause", "waiting"),
        ("expired", "expired"),
    ]
    assert await execution.async_get_result() == "InterruptExpired"


# -- sources and readers -----------------------------------------------------------------------------------------------


def endless(closed: list[str], kind: str) -> Any:
    def sync() -> Iterator[int]:
        try:
            yield from count()
        finally:
            closed.append(kind)

    async def asynchronous() -> AsyncIterator[int]:
        try:
            for number in count():
                yield number
        finally:
            closed.append(kind)

    return {"sync": sync, "async": asynchronous, "list": lambda: list(range(1000)), "range": lambda: range(10**12)}[
        kind
    ]()


@pytest.mark.parametrize("kind", ["sync", "async", "list", "range"])
async def test_a_chunk_stops_the_for_each_around_it(kind: str) -> None:
    """An endless source can end: items in work go on, and their results are the list."""
    flow, closed = TriggerFlow(name="t"), list[str]()

    async def body(data: Any) -> int:
        if data.value == 5:
            await data.async_stop_for_each()
        await asyncio.sleep(0)
        return data.value

    flow.for_each(concurrency=1).to(body).end_for_each().end()
    assert await flow.async_start(endless(closed, kind)) == [0, 1, 2, 3, 4, 5]
    assert closed == ([kind] if kind in ("sync", "async") else [])


async def test_only_the_innermost_for_each_is_stopped() -> None:
    flow = TriggerFlow(name="t")

    async def body(data: Any) -> int:
        if data.value % 10 == 1:
            data.stop_for_each()
        return data.value

    inner = flow.for_each(concurrency=1).for_each(concurrency=1).match().case(lambda data: True).to(body).end_match()
    inner.end_for_each().end_for_each().end()
    assert await flow.async_start([[0, 1, 2], [10, 11, 12]]) == [[0, 1], [10, 11]]


async def test_a_stop_outside_of_a_for_each_is_an_error() -> None:
    flow, inner = TriggerFlow(name="t"), TriggerFlow(name="inner")

    async def stop(data: Any) -> None:
        await data.async_stop_for_each()

    inner.to(stop)
    flow.for_each().to_sub_flow(inner).end_for_each()
    for start, value in ((inner.async_start, 1), (flow.async_start, [1])):
        with pytest.raises(UsageError, match="chunk 'stop' runs outside of a for_each"):
            await start(value)


async def test_a_reader_that_was_left_and_holds_chunks_up_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    flow = TriggerFlow(name="t")

    async def work(data: Any) -> str:
        for number in range(3000):
            await data.async_put_into_stream(number)
        return "done"

    flow.to(work).end()
    execution = flow.create_execution()
    reader = execution.get_async_runtime_stream(None)
    async for _ in reader:
        break
    with pytest.raises(TimeoutError):
        await execution.async_get_result(timeout=3)
    with caplog.at_level(logging.WARNING, "triggerflow"):
        assert [record.getMessage() for record in caplog.records if "await reader.aclose()" in record.getMessage()]
    assert len(caplog.records) == 1
    await reader.aclose()
    assert await execution.async_get_result() == "done"


# -- stores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_store_that_is_opened_again_goes_on_beside_an_old_handle(kind: str, tmp_path: Any) -> None:
    flow = TriggerFlow(name="t")

    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id="q")

    flow.to(ask).to(lambda data: data.value).end()
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "runs.db")
    async with store:
        old = flow.create_execution(store=store, id="z")
        await old.async_begin()
        await old.async_settled()
    async with store:
        new = await flow.async_resume("z", store=store)
        with pytest.raises(ExecutionSuspended, match="was closed and opened again"):
            await old.async_get_result()
        await new.async_continue_with("q", "yes")
        assert await new.async_get_result() == "yes"
