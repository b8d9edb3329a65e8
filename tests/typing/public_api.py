"""The types that a user sees, checked by strict pyright; nothing here is run."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import CoroutineType
from typing import Any, Literal, TypeVar, assert_type

from triggerflow import Chain, Chunk, Definition, Execution, Signal, StreamReader, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.backend import Answer, Backend, Done, ExecutionInfo, Frame, StoreBackend
from triggerflow.durable import Schedule
from triggerflow.stores import Store

T = TypeVar("T")
flow = TriggerFlow(name="typed", skip_exceptions=False)


# -- what a chunk receives -------------------------------------------------------------------------------------------


@flow.chunk("one parameter")
async def one(data: TriggerFlowRuntimeData[str]) -> str:
    assert_type(data.value, str)
    await data.async_put_into_stream({"any": "item"})
    await data.async_set_result(5)
    return data.value.strip()


@flow.chunk("three parameters")
async def three(data: TriggerFlowRuntimeData[str, dict[str, int], list[str]]) -> int:
    assert_type(data.value, str)
    await data.async_put_into_stream({"count": 1})
    data.put_into_stream({"count": 2})
    data.set_result(["done"])
    await data.async_set_result(["done"])
    await data.async_put_into_stream("not a dict")  # pyright: ignore[reportArgumentType]
    data.set_result("not a list")  # pyright: ignore[reportArgumentType]
    return len(data.value)


@flow.chunk("bare")
async def bare(data: TriggerFlowRuntimeData) -> None:
    assert_type(data.value, Any)
    await data.async_put_into_stream(object())
    data.set_result(object())


@flow.chunk("members")
async def members(data: TriggerFlowRuntimeData[list[int], str]) -> list[int]:
    assert_type(data.value, list[int])
    assert_type(data.execution, Execution)
    assert_type(data.execution_id, str)
    assert_type(data.run_id, str)
    assert_type(data.attempt, int)
    assert_type(data.chunk_name, str)
    assert_type(data.trigger_event, str)
    assert_type(data.trigger_type, str)
    assert_type(data.signal_id, int)
    assert_type(data.provisional_signals, tuple[int, ...])
    data.state.set("key", 1)
    await data.state.async_set("key", 1, emit=False)
    data.state.append("list", 1)
    data.state.delete("key")
    assert_type(data.state.to_dict(), dict[str, Any])
    data.flow_state.set("key", 1)
    assert_type(await data.async_emit("event", 1), int)
    assert_type(await data.async_emit("event", settle=True), int)
    assert_type(data.emit("event", 1), None)
    assert_type(await data.async_stop_stream(), None)
    await data.async_emit(5)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return data.value


# -- the forms of the decorator --------------------------------------------------------------------------------------


@flow.chunk
async def plain(data: TriggerFlowRuntimeData[int]) -> int:
    return data.value


@flow.chunk()
def called(data: TriggerFlowRuntimeData[int]) -> int:
    return data.value


@flow.chunk("limited", concurrency=2, inline=True, emits=("event",))
def limited(data: TriggerFlowRuntimeData[int]) -> int:
    return data.value


def function(data: TriggerFlowRuntimeData[int]) -> int:
    return data.value


def data_of(value: T) -> TriggerFlowRuntimeData[T]: ...


chunks: list[Chunk] = [one, three, bare, members, plain, called, limited]
assert_type(flow.chunk("named")(function)(data_of(1)), int)
assert_type(flow.chunk(function)(data_of(1)), int)
_ = assert_type(plain.declare_emits("event", "other")(data_of(1)), CoroutineType[Any, Any, int])
assert_type(flow.signal("s"), Signal[Any])
assert_type(flow.signal("s", external=True), Signal[Any])
assert_type(flow.signal("s", int), Signal[int])
assert_type(flow.signal("s", int, external=True), Signal[int])
decorator: Callable[[Callable[[Any], Any]], Chunk] = flow.chunk("kept")
flow.chunk("wrong", concurrency="2")  # pyright: ignore[reportCallIssue, reportArgumentType]
flow.chunk(5)  # pyright: ignore[reportCallIssue, reportArgumentType]


# -- wiring ----------------------------------------------------------------------------------------------------------

assert_type(flow.to(one), Chain)
assert_type(flow.to("three parameters").side_branch(function).to(("again", function)), Chain)
assert_type(flow.batch(one, function, ("third", function), concurrency=2).end(), Chain)
assert_type(flow.when("event").to(one), Chain)
assert_type(flow.when(["event", one], mode="or"), Chain)
assert_type(flow.when({"event": ["a", "b"], "runtime_data": "key"}, mode="simple_or"), Chain)
flow.when("event", mode="xor")  # pyright: ignore[reportArgumentType]
assert_type(flow.definition, Definition)


# -- running ---------------------------------------------------------------------------------------------------------


async def run() -> None:
    assert_type(await flow.async_start("value", timeout=1.0, concurrency=2), Any)
    assert_type(flow.get_async_runtime_stream("value", timeout=1), StreamReader[Any])
    execution = flow.create_execution(id="run-1", concurrency=2, skip_exceptions=True, cleanup_timeout=1.5)
    assert_type(execution, Execution)
    assert_type(execution.id, str)
    assert_type(await execution.async_start("value", timeout=1), Any)
    assert_type(await execution.async_get_result(timeout=None), Any)
    assert_type(await execution.async_emit("event", 1, settle=True), None)
    assert_type(await execution.async_emit("event", 1, delay=5, id="later", keeps_open=False), None)
    assert_type(await execution.async_cancel_signal("later"), int)
    assert_type(await execution.async_begin("value", delay=5), None)
    assert_type(await execution.async_cancel("reason"), None)
    reader = execution.get_async_runtime_stream(after=3, lag="drop_oldest", buffer=10)
    assert_type(reader, StreamReader[Any])
    assert_type(reader.position, int)
    async for item in reader:
        assert_type(item, Any)
    execution.get_async_runtime_stream(lag="sometimes")  # pyright: ignore[reportArgumentType]
    assert_type(execution.get_status(), Literal["created", "running", "waiting", "completed", "failed", "cancelled"])


async def schedule(store: Store) -> None:
    made = await flow.async_schedule("nightly", cron="0 2 * * *", zone="Europe/Berlin", overlap="queue", store=store)
    assert_type(made, Schedule)
    assert_type(made.due, datetime | None)
    await flow.async_schedule("pace", every=timedelta(minutes=5), missed="all", window=3600, store=store)
    await flow.async_schedule("wrong", every=60, overlap="sometimes", store=store)  # pyright: ignore[reportArgumentType]
    schedules = flow.schedules(store)
    assert_type(await schedules.list(), list[Schedule])
    assert_type(await schedules.trigger("nightly"), str)
    assert_type(schedules.sync.pause("nightly"), Schedule)


def run_sync() -> None:
    assert_type(flow.start("value", timeout=1), Any)
    assert_type(flow.get_runtime_stream("value"), Iterator[Any])
    execution = flow.create_execution()
    assert_type(execution.start("value"), Any)
    assert_type(execution.get_result(timeout=1), Any)
    assert_type(execution.get_runtime_stream(after=1), Iterator[Any])
    assert_type(execution.emit("event"), None)
    assert_type(execution.cancel(), None)


async def serve(store: Store) -> None:
    backend: Backend = StoreBackend(store, flow)
    async for frame in backend.frames("run-1", after=3, follow=True):
        assert_type(frame, Frame)
    assert_type((await backend.executions(status="failed")).executions, list[ExecutionInfo])
    assert_type(await backend.act("run-1", Answer(question="approve", value=1), request="form-1"), Done)
    await backend.executions(status="broken")  # pyright: ignore[reportArgumentType]
