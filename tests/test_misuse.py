"""Misuse gets a clear error at once: the class says whose fault it is, the message names the place and what to do."""

import asyncio
import functools
import threading
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

import triggerflow
from tests.support import turns
from triggerflow import (
    Chain,
    TriggerFlow,
    TriggerFlowError,
    TriggerFlowRuntimeData,
    errors,
    extension,
    models,
    records,
    stores,
)
from triggerflow.errors import (
    AlreadyStarted,
    DefinitionError,
    ExecutionCancelled,
    ExecutionClosed,
    NotAChunkError,
    UnknownChunkError,
    UsageError,
    WrongLoopError,
)
from triggerflow.extension import runtime_of
from triggerflow.models import errors as models_errors
from triggerflow.models import instant

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


def generator(data: Data) -> Any:
    yield data


async def agenerator(data: Data) -> Any:
    yield data


def briefing() -> tuple[TriggerFlow, Chain]:
    """A flow of two chunks, and the place behind the first of them."""
    flow = TriggerFlow(name="briefing")
    for name in ("search", "summarize"):
        flow.chunk(name)(functools.partial(echo))
    searched = flow.to("search")
    searched.to("summarize").end()
    return flow, searched


# -- building --------------------------------------------------------------------------------------------------------

BUILDING: dict[str, tuple[Callable[[TriggerFlow, Chain], Any], type[Exception], list[str]]] = {
    # what: (the mistake, the class, what the message has to say)
    "unknown chunk": (lambda flow, at: flow.to("serach"), UnknownChunkError, ["'serach'", "mean 'search'"]),
    "unknown chunk in a chain": (lambda flow, at: at.to("x"), UnknownChunkError, ["'x'", "'search'"]),
    "unknown chunk in a batch": (lambda flow, at: flow.batch("search", "sumarize"), UnknownChunkError, ["'summarize'"]),
    "unknown side branch": (lambda flow, at: flow.side_branch("serch"), UnknownChunkError, ["mean 'search'"]),
    "a number as chunk": (lambda flow, at: flow.to(5), NotAChunkError, ["5", "(name, function)"]),
    "None as chunk": (lambda flow, at: flow.to(None), NotAChunkError, ["None"]),
    "a list as chunk": (lambda flow, at: flow.batch([echo]), NotAChunkError, ["(name, function)"]),
    "a pair the wrong way round": (lambda flow, at: flow.to((echo, "echo")), NotAChunkError, ["(name, function)"]),
    "registering a number": (lambda flow, at: flow.chunk("five")(5), NotAChunkError, ["'five'", "callable"]),
    "a pair without a function": (lambda flow, at: flow.to(("called", 0)), NotAChunkError, ["'called'", "callable"]),
    "no argument": (lambda flow, at: flow.chunk("bare")(lambda: 1), NotAChunkError, ["'bare'", "one argument"]),
    "two arguments": (lambda flow, at: flow.to(("two", lambda a, b: 1)), NotAChunkError, ["'two'", "one argument"]),
    "keyword argument": (lambda flow, at: flow.to(("kw", lambda *, data: 1)), NotAChunkError, ["'kw'", "one argument"]),
    "a class that cannot be made": (lambda flow, at: flow.to(("dict", object)), NotAChunkError, ["'dict'"]),
    "a generator": (lambda flow, at: flow.to(generator), NotAChunkError, ["generator", "async_put_into_stream"]),
    "async generator": (lambda flow, at: flow.to(agenerator), NotAChunkError, ["generator", "async_put_into_stream"]),
    "an empty name": (lambda flow, at: flow.chunk("")(echo), NotAChunkError, ["briefing", "name"]),
    "a name that is no text": (lambda flow, at: flow.to(echo, name=7), NotAChunkError, ["7"]),
    "another's name": (lambda flow, at: flow.chunk("search")(echo), DefinitionError, ["'search'", "another"]),
    "when on a number": (lambda flow, at: flow.when(5), NotAChunkError, ["briefing", "5", "runtime_data"]),
    "when on None": (lambda flow, at: flow.when(None), NotAChunkError, ["None", "runtime_data"]),
    "when on an empty name": (lambda flow, at: flow.when(""), NotAChunkError, ["''"]),
    "when on a list with a number": (lambda flow, at: flow.when(["a", 5]), NotAChunkError, ["5"]),
    "when on a key that is no text": (lambda flow, at: flow.when({"runtime_data": 5}), NotAChunkError, ["5"]),
    "when on nothing": (lambda flow, at: flow.when([]), DefinitionError, ["briefing", "has no trigger"]),
    "when on an empty dict": (lambda flow, at: flow.when({}), DefinitionError, ["has no trigger"]),
    "when with an unknown key": (lambda flow, at: flow.when({"evnt": "a"}), DefinitionError, ["'evnt'", "'event'"]),
    "an unknown mode": (lambda flow, at: flow.when("a", mode="xor"), DefinitionError, ["'xor'", "'simple_or'"]),
    "an empty batch": (lambda flow, at: flow.batch(), DefinitionError, ["batch()", "never complete"]),
    "a name twice": (lambda flow, at: flow.batch("search", "search"), DefinitionError, ["'search'", "name"]),
    "a function twice": (lambda flow, at: flow.batch(echo, echo), DefinitionError, ["'echo'", "name"]),
    "declared emits": (lambda flow, at: flow.chunk("e")(echo).declare_emits(5), TriggerFlowError, ["5"]),
    **{
        f"{where} with concurrency={limit!r}": (
            lambda flow, at, call=call, limit=limit: call(flow, limit), DefinitionError, ["concurrency", repr(limit)]
        )
        for limit in (0, -1, True, 1.5, "2")
        for where, call in {
            "batch": lambda flow, limit: flow.batch("search", concurrency=limit),
            "chunk": lambda flow, limit: flow.chunk("limited", concurrency=limit)(functools.partial(echo)),
            "create_execution": lambda flow, limit: flow.create_execution(concurrency=limit),
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("what", BUILDING)
def test_a_mistake_in_building_is_told_at_once(what: str) -> None:
    mistake, kind, words = BUILDING[what]
    with pytest.raises(kind) as caught:
        mistake(*briefing())
    assert isinstance(caught.value, DefinitionError), "the fault is in the definition"
    for word in (*words, ""):
        assert word in str(caught.value)


LATER: dict[str, tuple[Callable[[TriggerFlow], Any], type[Exception], list[str]]] = {
    "unknown chunk in when": (lambda flow: flow.when({"chunk": "serch"}), UnknownChunkError, ["mean 'search'"]),
    "unknown chunk in on_error": (lambda flow: flow.when({"error": "serch"}), UnknownChunkError, ["mean 'search'"]),
    "when on a function not in the flow": (lambda flow: flow.when(echo), DefinitionError, ["'echo'", "not wired"]),
    "back to an unknown chunk": (
        lambda flow: flow.when("x").back_to("serch"),
        DefinitionError,
        ["'serch'", "not wired"],
    ),
}


@pytest.mark.parametrize("what", LATER)
def test_what_may_be_written_later_is_missed_when_the_flow_is_used(what: str) -> None:
    """Nothing depends on the order of writing, so that only the finished flow shows these; the line is told then."""
    mistake, kind, words = LATER[what]
    flow, _ = briefing()
    mistake(flow)
    with pytest.raises(kind) as caught:
        flow.create_execution()
    for word in (*words, "briefing", "test_misuse.py:"):
        assert word in str(caught.value)


@pytest.mark.parametrize("what", BUILDING)
async def test_a_mistake_in_building_leaves_the_flow_as_it_was(what: str) -> None:
    """Somebody may catch the error, or work in a shell: half a batch must not stay behind."""
    mistake, kind, _ = BUILDING[what]
    flow, at = briefing()
    before = flow.definition
    with pytest.raises(kind):
        mistake(flow, at)
    assert flow.definition == before
    assert await flow.async_start(1) == 1


@pytest.mark.parametrize("name", ["stream_history", "journal_limit", "max_pending", "cleanup_timeout"])
@pytest.mark.parametrize("value", [-1, 0, "many"])
def test_a_senseless_bound_of_an_execution_is_refused(name: str, value: Any) -> None:
    """A bound that cannot work would show later as a wrong number or as memory that grows."""
    if name == "cleanup_timeout" and value == 0:
        return  # not to wait at all makes sense
    with pytest.raises(TriggerFlowError, match=name):
        TriggerFlow().create_execution(**{name: value})


async def test_the_same_function_twice_under_one_name_is_no_mistake() -> None:
    """The same name with the same function is the same chunk; for bound methods, which are made anew at each access,
    too."""

    class Service:
        async def fetch(self, data: Data) -> Any:
            return data.value

    flow, service = TriggerFlow(), Service()
    assert flow.chunk("echo")(echo) is flow.chunk("echo")(echo)
    assert flow.chunk("fetch")(service.fetch) is flow.chunk("fetch")(service.fetch)
    with pytest.raises(DefinitionError):
        flow.chunk("fetch")(Service().fetch)
    flow.to(service.fetch)
    flow.when(service.fetch).to("echo").end()
    assert await flow.async_start(3) == 3


async def test_a_chunk_of_another_flow() -> None:
    """It can be used where its name is free, and is refused where the name means something else."""
    one, other = TriggerFlow(name="one"), TriggerFlow(name="other")
    chunk = one.chunk("shared")(echo)
    other.to(chunk).end()
    assert await other.async_start(2) == 2
    third = TriggerFlow(name="third")
    third.chunk("shared")(functools.partial(echo))
    with pytest.raises(DefinitionError, match=r"third.*'shared'"):
        third.to(chunk)


async def test_steps_added_later_do_not_reach_an_execution_that_exists() -> None:
    """What an execution runs is the flow as it was when it was created."""
    flow = TriggerFlow()
    process = flow.to(("first", echo))
    execution = flow.create_execution()
    process.to(("late", lambda data: 1 / 0)).end()
    assert await execution.async_start(1) is None


# -- running ---------------------------------------------------------------------------------------------------------


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = object.__hash__


async def test_starting_twice_with_different_values() -> None:
    """The first value stands; the message shows both and what to do."""
    flow, _ = briefing()
    execution = flow.create_execution()
    assert await execution.async_start([1]) == [1]
    assert await execution.async_start([1]) == [1], "an equal value is no other value"
    assert await execution.async_start() == [1]
    for again in (execution.async_start([2]), execution.async_start(None), execution.async_start(Incomparable())):
        with pytest.raises(AlreadyStarted, match=r"(?s)briefing.*\[1\].*another execution") as caught:
            await again
        assert isinstance(caught.value, UsageError)
    odd = Incomparable()
    other = flow.create_execution()
    assert await other.async_start(odd) is await other.async_start(odd)


async def test_starting_with_none_and_then_with_a_value() -> None:
    """None is a value when it is given."""
    execution = briefing()[0].create_execution()
    assert await execution.async_start(None) is None
    with pytest.raises(AlreadyStarted):
        await execution.async_start(0)


async def test_reading_the_result_of_a_cancelled_run() -> None:
    """Not None, but an error with the reason; it is nobody's fault, so no usage error."""
    execution = briefing()[0].create_execution(id="run-1")
    await execution.async_cancel("the user left")
    with pytest.raises(ExecutionCancelled, match=r"run-1.*the user left") as caught:
        await execution.async_get_result()
    assert not isinstance(caught.value, UsageError)
    with pytest.raises(ExecutionCancelled):
        await asyncio.to_thread(execution.get_result)


async def test_starting_a_cancelled_run() -> None:
    execution = briefing()[0].create_execution()
    await execution.async_cancel("the user left")
    with pytest.raises((ExecutionClosed, ExecutionCancelled)):
        await execution.async_start(1)


@pytest.mark.parametrize("name", [5, None, ["e"], echo])
async def test_emitting_what_is_no_name(name: Any) -> None:
    """The chunk that does it is told, and nothing has been recorded."""
    flow = TriggerFlow()

    async def source(data: Data) -> int:
        before = runtime_of(data.execution).machine.state.records
        for emit in (data.emit, data.execution.emit):
            with pytest.raises(TriggerFlowError, match="name"):
                emit(name)
        with pytest.raises(TriggerFlowError, match="name"):
            await data.async_emit(name)
        return runtime_of(data.execution).machine.state.records - before

    flow.to(source).end()
    assert await flow.async_start() == 0


# -- the wrong loop --------------------------------------------------------------------------------------------------


def waiting_flow() -> TriggerFlow:
    flow = TriggerFlow()
    flow.when(flow.signal("go", external=True)).to(echo).end()
    return flow


FOREIGN: dict[str, Callable[[Any], Any]] = {
    "async_start": lambda execution: execution.async_start(),
    "async_get_result": lambda execution: execution.async_get_result(),
    "async_emit": lambda execution: execution.async_emit("go"),
    "async_cancel": lambda execution: execution.async_cancel(),
    "async_close": lambda execution: execution.async_close(),
    "a reader": lambda execution: anext(execution.get_async_runtime_stream()),
}


@pytest.mark.parametrize("method", [name for name in FOREIGN if name != "a reader"])
async def test_a_call_from_the_loop_of_another_thread_is_carried(method: str) -> None:
    """`Execution`: "The methods with `async_` can be awaited on any loop": nothing changes the execution there."""
    execution = waiting_flow().create_execution()
    execution.begin()
    await turns()
    threads: set[int] = set()
    execution.add_observer(lambda record: threads.add(threading.get_ident()))

    async def use() -> Any:
        return await FOREIGN[method](execution)

    used = asyncio.create_task(asyncio.to_thread(asyncio.run, use()))
    if method in ("async_start", "async_get_result"):
        await turns()
        await execution.async_emit("go", "fine")
        assert await used == "fine"
    else:
        await used
        assert execution.get_status() == ("cancelled" if method == "async_cancel" else "completed")
    assert threads == {threading.get_ident()}


async def test_a_reader_on_the_loop_of_another_thread_is_an_error() -> None:
    """It would wait for ever: the error says where the execution lives."""
    execution = waiting_flow().create_execution()
    execution.begin()
    await turns()

    async def use() -> None:
        async with asyncio.timeout(1):
            await anext(execution.get_async_runtime_stream())

    with pytest.raises(WrongLoopError, match=r"loop.*sync methods"):
        await asyncio.to_thread(asyncio.run, use())
    await execution.async_emit("go", "fine")
    assert await execution.async_get_result() == "fine"


@pytest.mark.parametrize("method", FOREIGN)
def test_an_execution_used_from_a_later_loop_of_the_same_thread(method: str, run: Callable[[Any], Any]) -> None:
    """Its loop is gone, and nothing can run any more: whoever comes is told, and nobody waits."""
    execution = waiting_flow().create_execution()

    async def first() -> None:
        execution.begin()
        await turns()

    async def second() -> None:
        async with asyncio.timeout(1_000):
            await FOREIGN[method](execution)
        assert method in ("async_cancel", "async_close"), "there is nothing else that could still be done to it"

    run(first())
    with suppress(UsageError, ExecutionCancelled):
        run(second())
    assert execution.get_status() in ("cancelled", "completed", "waiting")


PUBLIC_MODULES = [triggerflow, errors, extension, models, models_errors, instant, records, stores]


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda it: it.__name__)
def test_every_public_exception_is_a_trigger_flow_error(module: ModuleType) -> None:
    """README: "All are `TriggerFlowError`"."""
    names = getattr(module, "__all__", dir(module))
    public = [it for it in (getattr(module, name) for name in names) if isinstance(it, type)]
    own = [it for it in public if issubclass(it, BaseException) and it.__module__.startswith("triggerflow")]
    assert [it for it in own if not issubclass(it, TriggerFlowError)] == []
    if module in (errors, models, instant):
        assert own
