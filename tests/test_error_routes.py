"""Error routes (S7): a chunk's exception goes to its retry policy, then to its route, then fails the execution."""

import asyncio
from typing import Any

import pytest

from tests.support import drain, now, turns
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError, ExecutionCancelled

Data = TriggerFlowRuntimeData[Any]
ERROR = ValueError("broken")


async def echo(data: Data) -> Any:
    return data.value


async def broken(data: Data) -> None:
    raise ERROR


@pytest.fixture(autouse=True)
def clean_error() -> None:
    ERROR.__notes__ = []
    ERROR.__traceback__ = ERROR.__context__ = None


def noting(flow: TriggerFlow, name: str = "handle") -> tuple[Any, list[Any]]:
    seen: list[Any] = []

    async def note(data: Data) -> Any:
        seen.append(data.value)
        return "handled"

    return (name, note), seen


@pytest.mark.parametrize("how", ["chunk", "function", "name", "star", "on_error", "list"])
async def test_s07_an_error_goes_to_its_route(how: str) -> None:
    """S7: "then to its error route": which gets `{"chunk", "type", "message", "value"}`; nothing else fails."""
    flow = TriggerFlow()
    chunk = flow.chunk("step")(broken)
    handle, seen = noting(flow)
    flow.to(chunk).to(("never", echo)).end()
    match how:
        case "on_error":
            flow.on_error(handle).end()
        case "star":
            flow.when({"error": "*"}).to(handle).end()
        case "list":
            flow.to(("other", echo))
            flow.when({"error": ["step", "other"]}, mode="simple_or").to(handle).end()
        case _:
            flow.when({"error": {"chunk": chunk, "function": broken, "name": "step"}[how]}).to(handle).end()
    execution = flow.create_execution()
    assert await execution.async_start("task") == "handled"
    assert seen == [{"chunk": "step", "type": "ValueError", "message": "broken", "value": "task"}]
    assert execution.get_status() == "completed"
    assert execution.skipped == ()


async def test_s07_its_own_route_comes_before_the_general_one() -> None:
    """S7: "its error route": the flow-level handler is for failures that have none of their own."""
    flow = TriggerFlow()
    own, own_seen = noting(flow, "own")
    general, general_seen = noting(flow, "general")
    flow.batch(broken, ("other", broken))
    flow.on_error(general)
    flow.when({"error": "broken"}).to(own)
    await flow.async_start()
    assert [it["chunk"] for it in own_seen] == ["broken"]
    assert [it["chunk"] for it in general_seen] == ["other"]


async def test_s07_every_route_of_a_chunk_runs() -> None:
    """S7 with S1: several listeners to one failure start in definition order."""
    flow, order = TriggerFlow(), list[str]()

    async def note(data: Data) -> None:
        order.append(data.chunk_name)

    flow.to(broken)
    flow.when({"error": broken}).to(("first", note))
    flow.when({"error": broken}).to(("second", note))
    await flow.async_start()
    assert order == ["first", "second"]


@pytest.mark.parametrize("route", [True, False])
@pytest.mark.parametrize("skip", [True, False])
async def test_s07_the_order_is_retry_route_skip_fail(route: bool, skip: bool) -> None:
    """S7: "retry policy, then ... error route, then fails the execution"; `skip_exceptions` stands before failing."""
    flow, runs = TriggerFlow(), list[int]()

    @flow.chunk("flaky", retry=Retry(3, initial_interval=1, jitter=0))
    async def flaky(data: Data) -> None:
        runs.append(data.attempt)
        raise ERROR

    flow.to(flaky)
    handle, seen = noting(flow)
    if route:
        flow.when({"error": flaky}).to(handle)
    execution = flow.create_execution(skip_exceptions=skip)
    result = (await asyncio.gather(execution.async_start("x"), return_exceptions=True))[0]
    assert runs == [1, 2, 3]
    assert len(seen) == route
    assert len(execution.skipped) == (skip and not route)
    assert execution.get_status() == ("completed" if route or skip else "failed")
    assert result is (None if route or skip else ERROR)


@pytest.mark.parametrize("how", ["own", "star", "on_error", "emit", "state", "batch", "sub flow", "later", "asks"])
async def test_s07_a_failing_handler_fails_the_execution_without_an_endless_loop(how: str) -> None:
    """S7: what fails while a failure is handled is not routed again, at any distance; "Nothing hangs"."""
    flow, runs = TriggerFlow(), list[int]()

    async def handler(data: Data) -> None:
        runs.append(1)
        if len(runs) > 5:
            raise AssertionError("an endless loop")
        raise KeyError("handler")

    async def relay(data: Data) -> None:
        if how == "state":
            data.state.set("k", 1)
        else:
            await data.async_emit("next", delay=5 if how == "later" else None)

    async def asks(data: Data) -> None:
        data.pause_for(interrupt_id="q")

    flow.to(broken)
    star: Any = None if how in ("on_error", "own") else flow.when({"error": "*"})
    match how:
        case "own":
            flow.when({"error": broken}).to(handler)
            flow.when({"error": handler}).to(("other", handler))
        case "on_error":
            flow.on_error(handler)
        case "emit" | "state" | "later":
            star.to(relay)
            flow.when({"runtime_data": "k"} if how == "state" else "next").to(handler)
        case "batch":
            star.batch(handler, ("fine", echo))
        case "sub flow":
            child = TriggerFlow(name="child")
            child.to(handler)
            star.to_sub_flow(child)
        case "asks":
            star.to(asks).to(handler)
        case _:
            star.to(handler)
    execution = flow.create_execution()
    execution.begin()
    await turns(30)
    if how == "asks":
        await execution.async_continue_with("q")
    if how == "own":  # the failure of a handler with a route of its own is that route's, once
        await asyncio.gather(execution.async_get_result(), return_exceptions=True)
        assert len(runs) <= 2
        return
    with pytest.raises(KeyError, match="handler"):
        await execution.async_get_result(timeout=100)
    assert runs == [1]


@pytest.mark.parametrize("kind", ["batch", "for_each", "match", "hit_all", "condition"])
async def test_s07_a_routed_failure_inside_a_block_ends_only_its_branch(kind: str) -> None:
    """S7: "The failed chunk's branch has ended then; the execution goes on". A for_each leaves the item out; any
    other block does not go on, because it would have no value."""
    flow = TriggerFlow()
    handle, seen = noting(flow)
    process: Any = flow.to(echo)
    match kind:
        case "batch":
            process = process.batch(broken, ("fine", echo))
        case "for_each":
            process = process.to(lambda data: [0, 1]).for_each().if_condition(lambda data: data.value == 0).to(broken)
            process = process.end_condition().end_for_each()
        case "match":
            process = process.match().case(1).to(broken).case_else().to(("fine", echo)).end_match()
        case "hit_all":
            process = process.match(mode="hit_all").case(1).to(broken).case(1).to(("fine", echo)).end_match()
        case _:
            process = process.if_condition(broken).to(("never", echo)).else_condition().to(("fine", echo))
            process = process.end_condition()
    process.to(("after", lambda data: [data.value])).end()
    flow.on_error(handle)
    assert await flow.async_start(1) == ([[1]] if kind == "for_each" else None)
    assert len(seen) == 1


async def test_s07_a_handler_may_emit_to_try_again() -> None:
    """S7: a handler's signals are signals: it can send work back where it came from; a second failure is final."""
    flow, tries = TriggerFlow(), list[int]()

    async def work(data: Data) -> Any:
        tries.append(1)
        if len(tries) < 2:
            raise ERROR
        return "done"

    async def again(data: Data) -> None:
        await data.async_emit("again", data.value["value"])

    step = flow.chunk("work")(work)
    flow.to(step).end()
    flow.when("again").to(step)
    flow.when({"error": step}).to(("handler", again))
    assert await flow.async_start() == "done"


async def test_s07_other_failures_are_routed_while_one_is_handled() -> None:
    """S7: a handler at work does not make the failures of other branches fatal."""
    flow = TriggerFlow()
    seen: list[Any] = []

    async def slow_handler(data: Data) -> None:
        await asyncio.sleep(10)
        seen.append(data.value["chunk"])

    async def later(data: Data) -> None:
        await asyncio.sleep(5)
        raise ERROR

    flow.batch(broken, later)
    flow.on_error(slow_handler)
    await flow.async_start()
    assert seen == ["broken", "later"]
    assert now() == 15


async def test_s08_a_cancellation_has_no_error_route() -> None:
    """S8: who is cancelled has not failed."""
    flow = TriggerFlow()
    handle, seen = noting(flow)
    flow.to(lambda data: asyncio.sleep(100))
    flow.on_error(handle)
    execution = flow.create_execution()
    execution.begin()
    await turns(30)
    await asyncio.sleep(1)
    await execution.async_cancel()
    with pytest.raises(ExecutionCancelled):
        await execution.async_get_result()
    assert seen == []


async def test_s16_readers_see_nothing_of_a_routed_failure() -> None:
    """S16: "on failure it raises the failure after the last item": a routed failure is no failure of the execution."""
    flow = TriggerFlow()

    async def tell(data: Data) -> None:
        await data.async_put_into_stream(data.value["type"])

    flow.to(broken)
    flow.on_error(tell)
    assert await drain(flow.get_async_runtime_stream()) == (["ValueError"], None)


async def test_a_source_that_raises_has_a_general_route() -> None:
    """`on_error`: "Run a chunk for every failure that has no error route of its own": a for_each's input too."""
    flow = TriggerFlow()

    def items() -> Any:
        yield 1
        raise ERROR

    flow.to(lambda data: items()).for_each().to(echo).end_for_each()
    flow.on_error(("handle", lambda data: data.value["type"])).end()
    assert await flow.async_start() == "ValueError"


@pytest.mark.parametrize("route", [True, False])
async def test_only_the_branch_of_a_source_that_raises_ends(route: bool) -> None:
    """ "The failed chunk's branch has ended then; the execution goes on", with a route or with `skip_exceptions` (S7):
    what was open goes on, what follows the block does not run, and a for_each around it leaves that item out."""
    flow, seen = TriggerFlow(), list[Any]()

    async def items() -> Any:
        yield 1
        raise ERROR

    async def work(data: Data) -> None:
        await asyncio.sleep(5)
        seen.append(data.value)

    outer = flow.to(lambda data: [1, 2]).for_each().to(lambda data: items() if data.value == 1 else [7, 8])
    outer = outer.for_each().to(work).end_for_each().to(("after", lambda data: len(data.value)))
    outer.end_for_each().end()
    if route:
        flow.on_error(("route", lambda data: seen.append((data.value["type"], data.value["chunk"].split("<-")[0]))))
    execution = flow.create_execution(skip_exceptions=not route)
    assert await execution.async_start() == [2]
    assert [error.type for error in execution.skipped] == ([] if route else ["ValueError"])
    assert [it for it in seen if isinstance(it, tuple)] == ([("ValueError", "for_each")] if route else [])
    assert sorted(it for it in seen if isinstance(it, int)) == [1, 7, 8]
    assert execution.get_status() == "completed"


@pytest.mark.parametrize("trigger", [{"error": "typo"}, {"error": 5}, {"error": []}, {"errors": "*"}])
def test_a_route_for_nothing_is_an_error_of_the_definition(trigger: Any) -> None:
    """A misspelt chunk is told before anything runs; it could be registered after this line."""
    flow = TriggerFlow()
    flow.to(broken)

    def use() -> None:
        flow.when(trigger)
        flow.create_execution()

    with pytest.raises(DefinitionError):
        use()
