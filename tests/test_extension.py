"""`triggerflow.extension`: a front end, and the handles that the engine calls. `docs/extension.md` shows one."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from triggerflow import Chunk, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import AlreadyStarted, BlockingCallError, ContractError, ExecutionCancelled
from triggerflow.extension import (
    Blueprint,
    ExtendedExecution,
    ExtendedRuntime,
    OperatorKind,
    RunChunk,
    Trigger,
    blueprint_of,
    call_on_thread,
    extend,
    flow_runtime_of,
)
from triggerflow.stores import MemoryStore
from triggerflow.testing.scenarios import SCENARIOS, Outside, Scenario

Data = TriggerFlowRuntimeData[Any]


class Noting(ExtendedExecution):
    """A handle that notes what the engine calls."""

    def __init__(self, runtime: ExtendedRuntime) -> None:
        super().__init__(runtime)
        self.notes: list[Any] = []

    def invoke(self, run: RunChunk) -> Awaitable[Any]:
        self.notes.append(("invoke", run.node.name, run.attempt))
        return super().invoke(run)

    def starting(self, value: Any) -> None:
        self.notes.append(("starting", value))

    def entering(self) -> None:
        self.notes.append("entering")

    def rested(self) -> None:
        self.notes.append("rested")

    def result_fixed(self, by: int | str | None) -> None:
        self.notes.append(("result", by))

    def closed(self) -> None:
        self.notes.append(("closed", self.get_status()))


class Flow(TriggerFlow):
    """A flow with such handles."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        extend(self, execution=Noting)


async def echo(data: Data) -> Any:
    return data.value


def notes(execution: Any) -> list[Any]:
    """What the handle was called with, but for `entering`."""
    assert isinstance(execution, Noting)
    return [it for it in execution.notes if it != "entering"]


# -- the handle --------------------------------------------------------------------------------------------------------


async def test_a_handle_sees_the_start_each_call_and_the_end() -> None:
    flow = Flow()
    flow.if_condition(lambda data: data.value > 0).to(("positive", echo)).end_condition().to(("last", echo)).end()
    execution = flow.create_execution()
    assert await execution.async_start(1) == 1
    condition, positive, last = (("invoke", name, 1) for name in ("<lambda>", "positive", "last"))
    assert [it if it[0] != "invoke" or it[1] in ("positive", "last") else condition for it in notes(execution)] == [
        ("starting", 1),
        condition,
        positive,
        last,
        ("closed", "completed"),
    ]


async def test_chunks_get_the_handle_that_its_holder_has() -> None:
    """`ExtendedExecution`: "There is one for each execution; chunks get it as `data.execution`"."""
    flow, seen = Flow(), list[Any]()

    async def look(data: Data) -> None:
        seen.append(data.execution)

    flow.to(look)
    execution = flow.create_execution()
    await execution.async_start()
    assert seen[0] is execution


async def test_the_handle_of_an_execution_that_nobody_holds() -> None:
    """`extend`: "`execution` makes the handle of each execution"."""
    flow, seen = Flow(), list[Any]()

    async def look(data: Data) -> Any:
        await data.async_put_into_stream("item")
        seen.append(data.execution)

    flow.to(look)
    await flow.async_start(3)
    assert [item async for item in flow.get_async_runtime_stream(4)] == ["item"]
    assert [notes(it)[0] for it in seen] == [("starting", 3), ("starting", 4)]


async def test_a_sub_flow_has_a_handle_of_its_own_flow() -> None:
    """`extend`: "also of one that runs as a sub-flow"."""
    child, seen = Flow("child"), list[Any]()

    async def look(data: Data) -> Any:
        seen.append((data.execution, data.state.get("lang")))
        return data.value

    child.to(look).end()
    parent = Flow("parent")
    parent.to_sub_flow(child, capture={"input": "value", "runtime_data": {"lang": "value"}}).end()
    execution = parent.create_execution()
    assert await execution.async_start("de") == "de"
    inner, lang = seen[0]
    assert (notes(inner), lang) == ([("starting", "de"), ("invoke", "look", 1), ("closed", "completed")], "de")
    assert inner.runtime.link.parent.execution is execution
    assert notes(execution)[1] == ("invoke", "child", 1)


async def test_a_loaded_execution_has_a_handle_of_the_class() -> None:
    """`extend`: "is loaded"."""
    flow = Flow()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    flow.to(ask).end()
    execution = flow.create_execution()
    await execution.async_begin(1)
    await execution.async_settled()
    loaded = flow.load_execution(execution.save())
    assert notes(loaded) == []
    await loaded.async_continue_with("q", 2)
    assert await loaded.async_get_result() == 2
    assert notes(loaded) == [("closed", "completed")]
    await execution.async_cancel()


async def test_an_execution_out_of_a_store_has_a_handle_of_the_class() -> None:
    """`extend`: "or comes out of a store"."""
    flow = Flow("stored")

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    flow.to(ask).to(("after", echo)).end()
    async with MemoryStore() as store:
        flow.set_store(store)
        execution = flow.create_execution(id="one")
        await execution.async_begin(1)
        await execution.async_settled()
        assert notes(execution) == [("starting", 1), ("invoke", "ask", 1)]
        await execution.async_suspend()
        again = await flow.async_resume("one")
        await again.async_continue_with("q", 2)
        assert await again.async_get_result() == 2
        assert notes(again)[-2:] == [("invoke", "after", 1), ("closed", "completed")]
        forked = await flow.history().fork("one", at=1)
        assert isinstance(forked, Noting)


async def test_a_start_is_noted_once_and_before_the_contract() -> None:
    """`ExtendedExecution.starting`: "with a value, which the contract has not checked yet"."""
    flow = Flow()
    flow.set_contract(initial_input=int)
    flow.to(echo).end()
    execution = flow.create_execution()
    with pytest.raises(ContractError):
        await execution.async_start("x")
    assert notes(execution) == [("starting", "x")]
    assert await execution.async_start(1) == 1
    with pytest.raises(AlreadyStarted):
        await execution.async_start(2)
    assert [it for it in notes(execution) if it[0] == "starting"] == [("starting", "x"), ("starting", 1)]


async def test_what_comes_from_outside_enters_and_what_chunks_do_does_not() -> None:
    """`ExtendedExecution.entering`: "Somebody outside is about to start it, change it, or wait for it"."""
    flow = Flow()

    async def work(data: Data) -> bool:
        data.execution.notes.clear()
        data.state.set("k", 1)
        await data.async_put_into_stream(1)
        await data.async_emit("asked")
        return "entering" in data.execution.notes

    flow.to(work).end()
    flow.when("asked").to(("ask", lambda data: data.pause_for(interrupt_id="q")))
    execution = flow.create_execution(keep_open=True)
    assert isinstance(execution, Noting)

    async def entered(doing: Awaitable[Any] | None) -> bool:
        if doing is not None:
            await doing
        found = "entering" in execution.notes
        execution.notes.clear()
        return found

    assert await entered(execution.async_begin())
    assert await execution.async_start() is False
    execution.notes.clear()
    assert await entered(execution.async_continue_with("q"))
    assert await entered(execution.async_emit("other", settle=True))
    assert await entered(execution.emit("other"))
    assert await entered(execution.state.async_set("k", 2))
    assert await entered(execution.state.set("k", 3))
    assert await entered(execution.put_into_stream(1))
    assert await entered(execution.set_result(1))
    assert await entered(execution.stop_stream())
    assert await entered(execution.async_close())


async def test_an_execution_that_is_kept_open_rests_and_has_results() -> None:
    """`ExtendedExecution.result_fixed`: "by a run (its number), an `end()` (its id) or from outside (None)"."""
    flow = Flow()
    flow.to(echo).end()

    async def decide(data: Data) -> None:
        await data.async_set_result("by a run", replace=True)

    flow.when("decide").to(decide)
    execution = flow.create_execution(keep_open=True)
    assert await execution.async_start(1) == 1
    end = next(it.id for it in flow.definition.operators if it.kind is OperatorKind.RESULT)
    assert notes(execution)[2:] == [("result", end), "rested"]
    await execution.async_emit("decide", settle=True)
    (kind, run), *rest = notes(execution)[5:]
    assert (kind, type(run), rest) == ("result", int, ["rested"])
    await execution.async_set_result("from outside", replace=True)
    assert ("result", None) in notes(execution)
    await execution.async_close()
    assert notes(execution)[-1] == ("closed", "completed")


async def test_the_end_is_noted_however_it_ends() -> None:
    flow = Flow()

    async def fail(data: Data) -> None:
        await asyncio.sleep(1)
        raise LookupError("no")

    flow.to(fail)
    failing, cancelled = flow.create_execution(), flow.create_execution()
    with pytest.raises(LookupError):
        await failing.async_start()
    cancelled.begin()
    await asyncio.sleep(0)
    await cancelled.async_cancel()
    with pytest.raises(ExecutionCancelled):
        await cancelled.async_get_result()
    assert (notes(failing)[-1], notes(cancelled)[-1]) == (("closed", "failed"), ("closed", "cancelled"))


class Plain(ExtendedExecution):
    """A handle that overrides nothing."""


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
async def test_a_handle_that_overrides_nothing_changes_nothing(scenario: Scenario, stored: bool) -> None:
    """`ExtendedExecution`: "By default they do what it does without them"."""
    flow = scenario.make()
    extend(flow, execution=Plain)
    async with MemoryStore() as store:
        if stored:
            flow.set_store(store)
        execution = flow.create_execution(**scenario.options)
        assert isinstance(execution, Plain)
        outside = asyncio.create_task(scenario.outside(Outside(execution)))
        items, result, error = list[Any](), None, None
        try:
            async for item in execution.get_async_runtime_stream(scenario.value):
                items.append(item)
            result = await execution.async_get_result()
        except Exception as raised:
            error = raised
        outside.cancel()
        scenario.check(result=result, error=error, stream=items, state=execution.state.to_dict())


def test_several_changes_with_nothing_in_between() -> None:
    """`docs/extension.md`: "`call_on_thread` ... makes several changes with nothing else in between"."""
    flow, seen = Flow(), list[Any]()

    async def see(data: Data) -> None:
        seen.append((data.state.get("a"), data.state.get("b")))

    flow.when({"runtime_data": "a"}).to(see)
    execution = flow.create_execution(keep_open=True)
    assert isinstance(execution, Noting)
    execution.start()  # it lives on the background loop now

    def change() -> str:
        execution.state.set("a", 1)
        execution.state.set("b", 2)
        return "done"

    assert call_on_thread(execution.runtime, change, "async_change") == "done"

    async def blocking() -> None:
        with pytest.raises(BlockingCallError, match="async_change"):
            call_on_thread(execution.runtime, change, "async_change")

    execution.emit("nothing", settle=True)
    assert seen == [(1, 2)]


# -- the flow ----------------------------------------------------------------------------------------------------------


class Numbered(Blueprint):
    """A blueprint that knows chunks by number."""

    def resolve(self, reference: Any) -> Chunk:
        return list(self.chunks.values())[reference] if isinstance(reference, int) else super().resolve(reference)


async def test_a_flow_can_write_into_another_blueprint() -> None:
    flow = Flow()
    extend(flow, blueprint=Numbered("numbers"))
    flow.chunk("one")(echo)
    flow.chunk("two")(echo)
    flow.to(1).to(0).end()
    execution = flow.create_execution()
    assert await execution.async_start(5) == 5
    assert [it[1] for it in notes(execution) if it[0] == "invoke"] == ["two", "one"]
    assert (flow.name, blueprint_of(flow).name) == ("numbers", "numbers")

    other = Numbered("other")
    other.version = blueprint_of(flow).version + 1
    extend(flow, blueprint=other)
    flow.to(("three", echo)).end()
    later = flow.create_execution()
    assert await later.async_start(6) == 6
    assert [it[1] for it in notes(later) if it[0] == "invoke"] == ["three"]


async def test_executions_can_run_another_blueprint_than_the_written_one() -> None:
    """`extend`: "`executable` gives the blueprint that executions run; it is asked once after each change"."""
    flow, asked = Flow("twice"), list[int]()

    def executable() -> Blueprint:
        written = blueprint_of(flow)
        asked.append(len(written.operators))
        made = Blueprint(written.name)
        made.load(written.freeze(), written.nodes, written.handlers, replace=True)
        made.place(Chunk("audit", note), Trigger("event", "audit"))
        return made

    audited = list[Any]()

    async def note(data: Data) -> None:
        audited.append(data.value)

    async def work(data: Data) -> None:
        await data.async_emit("audit", data.value)

    extend(flow, executable=executable)
    flow.to(work)
    await flow.async_start(1)
    await flow.async_start(2)
    assert (audited, asked) == ([1, 2], [1])
    flow.to(("more", echo))
    await flow.async_start(3)
    assert (audited, asked) == ([1, 2, 3], [1, 2])
    assert [it.name for it in flow.definition.operators] == ["work", "more", "audit"]
    assert flow_runtime_of(flow).program().plan.definition is flow.definition
