"""Sub-flows: what goes in and comes back, and how a child shows in its parent (S7, S8, S9, S14, S17)."""

import asyncio
from typing import Any

import pytest

from tests.support import Gauge, drain, now, read, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import AlreadyAnswered, ContractError, DefinitionError, ExecutionCancelled, InterruptExpired
from triggerflow.extension import runtime_of

Data = TriggerFlowRuntimeData[Any]
ERROR = ValueError("broken")


async def echo(data: Data) -> Any:
    return data.value


async def slow(data: Data) -> Any:
    await asyncio.sleep(10)
    return data.value


async def broken(data: Data) -> None:
    await asyncio.sleep(1)
    raise ERROR


def asking(**question: Any) -> Any:
    async def asks(data: Data) -> None:
        data.pause_for(**{"interrupt_id": "q", **question})

    return "asks", asks


def nested(levels: int, child: TriggerFlow) -> TriggerFlow:
    """The flow, wrapped in so many others."""
    for level in range(levels):
        parent = TriggerFlow(name=f"level{level}")
        parent.to_sub_flow(child).end()
        child = parent
    return child


async def begun(flow: TriggerFlow, value: Any = None, **options: Any) -> Any:
    execution = flow.create_execution(**options)
    execution.begin(value)
    await turns(30)
    return execution


@pytest.fixture(autouse=True)
def clean_error() -> None:
    ERROR.__notes__ = []
    ERROR.__traceback__ = ERROR.__context__ = None


# -- what goes in and comes back ---------------------------------------------------------------------------------------


async def test_what_is_said_of_the_ways_in_and_out_is_all_that_goes() -> None:
    child = TriggerFlow(name="child")

    async def inside(data: Data) -> Any:
        return {"input": data.value, "lang": data.state.get("lang")}

    child.to(inside).end()

    async def run(value: Any, **options: Any) -> Any:
        parent = TriggerFlow(name="parent")
        parent.to_sub_flow(child, **options).end()
        return await parent.async_start(value)

    assert await run(1, capture={"runtime_data": {"lang": "value"}}) == {"input": None, "lang": 1}
    assert await run(1, capture={}) == {"input": None, "lang": None}
    assert await run(1, write_back={"runtime_data": {"found": "result.input"}}) == 1
    assert await run({"a": 1}, write_back={"value": {"b": "result.lang"}}) == {"a": 1, "b": None}
    assert await run(5, write_back={"value": {"b": "result.input"}}) == {"b": 5}


@pytest.mark.parametrize("capture", ["value", {"input": 5}, {"runtime_data": {"a": 5}}])
def test_what_is_no_path_is_refused_at_once(capture: Any) -> None:
    with pytest.raises(TypeError, match="capture"):
        TriggerFlow().to_sub_flow(TriggerFlow(name="child"), capture=capture)


@pytest.mark.parametrize("how", ["to_sub_flow", "to", "named"])
@pytest.mark.parametrize("value", [5, None, 0, [], {"a": 1}])
async def test_the_value_goes_in_and_the_result_comes_out(how: str, value: Any) -> None:
    """ "By default the value goes in and the result comes out"; falsy results are results (S5)."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    child.to(echo).end()
    process = parent.to(("before", echo))
    if how == "to":
        process = process.to(child)
    elif how == "named":
        process = process.to_sub_flow(child, name="other")
    else:
        process = process.to_sub_flow(child)
    process.to(("after", lambda data: [data.value])).end()
    assert await parent.async_start(value) == [value]


async def test_a_child_without_a_result_gives_none() -> None:
    """A child that fixes no result gives None. There it hung its parent for ever."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    child.to(echo)
    parent.to_sub_flow(child).to(("after", lambda data: [data.value])).end()
    assert await parent.async_start(1) == [None]


async def test_capture_and_write_back() -> None:
    """ "`capture` says what the child gets ...; `write_back` says what comes back"."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")

    async def inside(data: Data) -> Any:
        return {
            "got": [
                data.value, data.state.get("lang"), data.flow_state.get("shared"), data.resources.get("model"),
                data.state.get("secret"), data.resources.get("hidden"),
            ],
            "deep": {"er": 7},
        }  # fmt: skip

    async def prepare(data: Data) -> Any:
        data.state.set("lang", {"code": "de"})
        data.state.set("secret", 1)
        data.flow_state.set("here", 2)
        return {"topic": "sails"}

    child.to(inside).end()
    process = parent.to(prepare).to_sub_flow(
        child,
        capture={
            "input": "value.topic",
            "runtime_data": {"lang": "runtime_data.lang.code"},
            "flow_data": {"shared": "flow_data.here"},
            "resources": {"model": "resources.llm"},
        },
        write_back={
            "value": "result.got",
            "runtime_data": {"found": "result.deep.er"},
            "flow_data": {"whole": "result.deep"},
        },
    )
    process.end()
    execution = parent.create_execution(runtime_resources={"llm": "the model", "hidden": 1})
    assert await execution.async_start() == ["sails", "de", 2, "the model", None, None]
    assert execution.state.get("found") == 7
    assert await parent.async_get_flow_data("whole") == {"er": 7}


@pytest.mark.parametrize(
    "options",
    [
        {"capture": {"nowhere": "value"}},
        {"capture": {"input": "nowhere"}},
        {"capture": {"input": "value..x"}},
        {"capture": {"input": "value.1x"}},
        {"capture": {"input": "result"}},
        {"capture": {"runtime_data": {"a": "value", "a.b": "value"}}},
        {"capture": {"runtime_data.a": "value", "runtime_data": {"a": "value"}}},
        {"write_back": {"resources": {"a": "result"}}},
        {"write_back": {"value": "value"}},
        {"concurrency": 0},
        {"concurrency": True},
    ],
)
def test_wrong_paths_are_errors_of_the_definition(options: dict[str, Any]) -> None:
    """A path that can never lead anywhere is told while the flow is written, and adds no operator."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    child.to(echo).end()
    before = parent.definition
    with pytest.raises(DefinitionError):
        parent.to_sub_flow(child, **options)
    assert parent.definition == before


@pytest.mark.parametrize("side", ["capture", "write_back"])
async def test_a_path_that_does_not_exist_names_itself(side: str) -> None:
    """A capture path that does not exist: "a clear error naming the place"."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    child.to(echo).end()
    paths = {"input": "value.a.b"} if side == "capture" else {"value": "result.a.b"}
    parent.to_sub_flow(child, **{side: paths})  # pyright: ignore
    execution = parent.create_execution()
    with pytest.raises(KeyError, match=r"a\.b.*'b' is missing"):
        await execution.async_start({"a": {"c": 1}})
    assert execution.get_status() == "failed"


async def test_children_are_isolated() -> None:
    """ "The child is an execution of its own, isolated from its parent": state and shared data of one call are seen
    neither by its parent, nor by the child flow, nor by another call."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    await child.async_set_flow_data("base", "child's")

    async def inside(data: Data) -> Any:
        seen = data.state.get("n"), data.flow_state.get("n"), data.flow_state.get("base")
        data.state.set("n", data.value)
        data.flow_state.set("n", data.value)
        await asyncio.sleep(1)
        return [*seen, data.state.get("n"), data.flow_state.get("n")]

    child.to(inside).end()
    parent.for_each().to_sub_flow(child).end_for_each().end()
    execution = parent.create_execution()
    assert await execution.async_start([1, 2]) == [[None, None, "child's", n, n] for n in (1, 2)]
    assert execution.state.to_dict() == {}
    assert await child.async_get_flow_data("n") is None
    assert await parent.async_get_flow_data("n") is None


async def test_signals_stay_in_their_flow() -> None:
    """An event of the child is none of the parent, and the other way round."""
    child, parent, seen = TriggerFlow(name="child"), TriggerFlow(name="parent"), list[str]()

    def listener(name: str) -> Any:
        async def listen(data: Data) -> None:
            seen.append(name)

        return name, listen

    async def emit(data: Data) -> None:
        await data.async_emit("e")

    child.to(emit)
    child.when("e").to(listener("child"))
    parent.to_sub_flow(child)
    parent.when("e").to(listener("parent"))
    await parent.async_start()
    assert seen == ["child"]


async def test_a_flow_may_run_itself() -> None:
    """Recursion: each level is an execution of its own."""
    flow = TriggerFlow(name="factorial")

    async def down(data: Data) -> Any:
        data.state.set("n", data.value)
        return data.value - 1

    async def times(data: Data) -> Any:
        return data.state.get("n") * data.value

    process = flow.if_condition(lambda data: data.value > 1).to(down).to_sub_flow(flow).to(times)
    process.else_condition().to(("one", lambda data: 1)).end_condition().end()
    assert await flow.async_start(10) == 3_628_800


# -- the stream --------------------------------------------------------------------------------------------------------


async def test_s14_items_of_sub_flows_arrive_in_the_parents_stream_with_their_path() -> None:
    """S14: "Items of sub-flows arrive in the parent's stream with their path", numbered there."""
    child = TriggerFlow(name="child")

    async def put(data: Data) -> None:
        await data.async_put_into_stream(("deep", data.value))

    child.to(put)
    parent = TriggerFlow(name="parent")
    parent.to(("own", put)).to(("pass", lambda data: 1)).to_sub_flow(child)
    top = TriggerFlow(name="top")
    top.to_sub_flow(parent)
    execution = top.create_execution()
    reader = execution.get_async_runtime_stream("x")
    found = [(item, reader.position, reader.path.count("/"), reader.path.split(".")[0]) async for item in reader]
    assert found == [(("deep", "x"), 1, 0, "parent"), (("deep", 1), 2, 1, "parent")]
    assert ".".join(reader.path.split("/")[1].split(".")[:-1]) == "child"


async def test_s14_the_child_stopping_its_stream_does_not_stop_the_parents() -> None:
    """S14, S16: each stream is stopped for itself."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")

    async def put(data: Data) -> None:
        await data.async_put_into_stream("child")
        await data.async_stop_stream()

    async def after(data: Data) -> None:
        await data.async_put_into_stream("parent")

    child.to(put)
    parent.to_sub_flow(child).to(after)
    assert await read(parent.get_async_runtime_stream()) == ["child", "parent"]


# -- pauses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 4])
async def test_s17_a_question_reaches_the_top_through_every_level(levels: int) -> None:
    """S17: a child's interrupt is answered at the top, under its path; the status says "waiting"."""
    child = TriggerFlow(name="child")
    child.to(asking(type="approval", payload=1)).to(("after", lambda data: [data.value])).end()
    execution = await begun(nested(levels, child))
    (number,) = execution.get_pending_interrupts()
    asked = execution.get_interrupt(number)
    assert number.count("/") == levels
    assert number.endswith("/q")
    assert (asked["type"], asked["payload"], asked["status"]) == ("approval", 1, "waiting")
    assert execution.get_status() == "waiting"
    answered = await execution.async_continue_with(number, "yes", request_id="r")
    assert answered["status"] == "resumed"
    assert (await execution.async_continue_with(number, "yes", request_id="r"))["response"] == "yes"
    assert await execution.async_get_result() == ["yes"]
    items = await read(execution.get_async_runtime_stream())
    assert [(item["action"], item["interrupt"]["id"]) for item in items] == [("pause", number), ("resume", number)]


@pytest.mark.parametrize("levels", [1, 2])
async def test_s17_an_answer_to_a_sub_flow_is_validated_before_it_is_taken(levels: int) -> None:
    """S17: "Answers are validated": a wrong one is refused to who gives it, and the interrupt stays open everywhere."""
    child = TriggerFlow(name="child")
    child.to(asking(schema=int)).end()
    execution = await begun(nested(levels, child))
    (number,) = execution.get_pending_interrupts()
    with pytest.raises(ContractError):
        await execution.async_continue_with(number, "no number")
    assert list(execution.get_pending_interrupts()) == [number]
    await execution.async_continue_with(number, 5)
    assert await execution.async_get_result() == 5


@pytest.mark.parametrize("levels", [1, 3])
async def test_s17_a_question_that_a_sub_flow_does_not_ask_any_more_is_closed_above(levels: int) -> None:
    """S17: an interrupt takes no answer after its expiry, or after what had asked was taken back; nor at the top."""
    child = TriggerFlow(name="child", skip_exceptions=True)

    async def starts(data: Data) -> None:
        number = await data.async_emit("ask", provisional=True)
        await asyncio.sleep(10)
        await data.async_retract(number, "no")

    child.to(asking(interrupt_id="late", expires=5))
    child.to(starts)
    child.when("ask").to(("asks for nothing", asking()[1]))
    child.to(asking(interrupt_id="open")[1])
    execution = await begun(nested(levels, child))
    names = {number.rpartition("/")[2]: number for number in execution.get_pending_interrupts()}
    assert execution.get_interrupt(names["late"])["expires"] is not None
    await asyncio.sleep(20)
    assert list(execution.get_pending_interrupts()) == [names["open"]]
    with pytest.raises(InterruptExpired):
        await execution.async_continue_with(names["late"], 1)
    with pytest.raises(AlreadyAnswered, match="closed without an answer"):
        await execution.async_continue_with(names["q"], 1)
    await execution.async_continue_with(names["open"], 1)
    await execution.async_get_result()


async def test_s17_siblings_of_a_paused_sub_flow_go_on() -> None:
    """S17: "siblings go on", in the child and in the parent."""
    child, parent, seen = TriggerFlow(name="child"), TriggerFlow(name="parent"), list[str]()

    async def note(data: Data) -> None:
        await asyncio.sleep(1)
        seen.append(data.chunk_name)

    child.to(asking()).end()
    child.to(("in the child", note))
    parent.to_sub_flow(child).end()
    parent.to(("in the parent", note))
    execution = await begun(parent)
    assert execution.get_status() == "running"
    await asyncio.sleep(5)
    assert execution.get_status() == "waiting"
    assert sorted(seen) == ["in the child", "in the parent"]
    await execution.async_cancel()


async def test_s17_several_children_ask_at_once() -> None:
    """S17: two runs of one step have two interrupts, although their chunks give them the same id."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    child.to(asking()).end()
    parent.for_each().to_sub_flow(child).end_for_each().end()
    execution = await begun(parent, [1, 2, 3])
    numbers = list(execution.get_pending_interrupts())
    assert len(numbers) == 3
    for index, number in reversed(list(enumerate(numbers))):
        await execution.async_continue_with(number, index)
    assert await execution.async_get_result() == [0, 1, 2]


@pytest.mark.parametrize("handled", ["route", "skip"])
@pytest.mark.parametrize("end", ["expiry", "failing sibling"])
async def test_s17_a_child_that_ends_takes_its_questions_along(end: str, handled: str) -> None:
    """S17, S6: a question whose child has ended waits for nobody: the parent closes."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    if end == "expiry":
        child.to(asking(expires=5)).end()
    else:
        child.to(asking())
        child.to(broken)
    parent.to_sub_flow(child)
    parent.to(("own", lambda data: "result")).end()
    if handled == "route":
        parent.on_error(("handle", echo))
    execution = parent.create_execution(skip_exceptions=handled == "skip")
    assert await execution.async_start(timeout=100) == "result"
    assert execution.get_pending_interrupts() == {}


# -- failures and cancellation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 3])
async def test_s07_the_childs_exception_is_the_steps(levels: int) -> None:
    """S7: "every waiter and stream reader gets the original exception", through every level."""
    child = TriggerFlow(name="child")
    child.to(broken).end()
    execution = nested(levels, child).create_execution(id="top")
    items, error = await drain(execution.get_async_runtime_stream("go"))
    assert (items, error) == ([], ERROR)
    with pytest.raises(ValueError, match="broken") as caught:
        await execution.async_get_result()
    assert caught.value is ERROR
    note = " ".join(ERROR.__notes__)
    assert "'broken'" in note
    assert "level0" in note


async def test_s07_the_failure_of_a_sub_flow_has_a_route() -> None:
    """S7: a sub-flow step fails like a chunk: its error route takes it, and siblings go on."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    child.to(broken)
    parent.to_sub_flow(child).to(("never", echo)).end()
    parent.when({"error": "*"}).to(("handle", lambda data: (data.value["chunk"], data.value["type"]))).end()
    assert await parent.async_start() == ("child", "ValueError")


async def test_s07_a_sub_flow_step_can_be_named_in_an_error_route() -> None:
    """S7: "its error route": `when({"error": ...})` takes the name of any step that can fail, a sub-flow's too."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    child.to(broken)
    parent.to_sub_flow(child, name="step").end()
    parent.when({"error": "step"}).to(("handle", lambda data: data.value["type"])).end()
    assert await parent.async_start() == "ValueError"


async def test_s07_skip_exceptions_of_the_parent_ends_only_the_step() -> None:
    """S7: "`skip_exceptions=True` ends only the failing branch": for the parent that is the whole child."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")
    child.if_condition(lambda data: data.value == 1).to(broken).end_condition().end()
    parent.for_each().to_sub_flow(child).end_for_each().end()
    execution = parent.create_execution(skip_exceptions=True)
    assert await execution.async_start([0, 1, 2]) == [0, 2]
    assert [error.chunk for error in execution.skipped] == ["child"]


async def test_s07_skip_exceptions_of_the_child_is_its_own() -> None:
    """S7: a child flow made with `skip_exceptions` keeps that inside a parent that does not skip."""
    child, parent = TriggerFlow(name="child", skip_exceptions=True), TriggerFlow(name="parent")
    child.batch(broken, ("fine", echo)).end()
    parent.to_sub_flow(child).end()
    assert await parent.async_start(1) is None


@pytest.mark.parametrize("levels", [1, 3])
async def test_s08_cancelling_the_parent_cancels_the_child_and_waits_for_its_clean_up(levels: int) -> None:
    """S8: "Cancellation is structured ..., waits for clean-up": nothing of a child outlives its parent."""
    child, seen = TriggerFlow(name="child"), list[str]()

    async def careful(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            seen.append("cleaned up")

    child.to(careful)
    execution = await begun(nested(levels, child))
    await execution.async_cancel("the user left")
    assert seen == ["cleaned up"]
    assert now() == 1
    with pytest.raises(ExecutionCancelled, match="the user left"):
        await execution.async_get_result()


async def test_s07_a_failing_sibling_cancels_the_child() -> None:
    """S7: "running siblings are cancelled", a running sub-flow with all its chunks too."""
    child, parent, seen = TriggerFlow(name="child"), TriggerFlow(name="parent"), list[str]()

    async def inside(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    child.batch(("one", inside), ("two", inside))
    parent.to_sub_flow(child)
    parent.to(broken)
    with pytest.raises(ValueError, match="broken"):
        await parent.async_start()
    assert seen == ["cancelled", "cancelled"]
    assert now() == 1


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_s09_concurrency_of_a_sub_flow_bounds_its_chunks() -> None:
    """S9: `to_sub_flow(concurrency=)` bounds the chunks of each child."""
    child, parent, gauge = TriggerFlow(name="child"), TriggerFlow(name="parent"), Gauge()

    async def work(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)

    child.for_each().to(work).end_for_each()
    parent.to_sub_flow(child, concurrency=2)
    await parent.async_start(range(10))
    assert (gauge.peak, gauge.total) == (2, 10)


@pytest.mark.parametrize("place", ["execution", "for_each"])
async def test_s09_the_limits_around_a_sub_flow_bound_its_chunks(place: str) -> None:
    """S9: "a true upper bound on chunks running at once, at every nesting depth": in sub-flows too."""
    child, parent, gauge = TriggerFlow(name="child"), TriggerFlow(name="parent"), Gauge()

    async def work(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(1)

    child.for_each().to(work).end_for_each()
    parent.for_each(concurrency=2 if place == "for_each" else None).to_sub_flow(child).end_for_each()
    execution = parent.create_execution(concurrency=2 if place == "execution" else None)
    await execution.async_start([range(5), range(5), range(5)])
    assert gauge.total == 15
    assert gauge.peak <= 2


async def test_s09_a_limit_counts_chunks_of_every_level_together() -> None:
    """S9: "a true upper bound on chunks running at once, at every nesting depth": the parent's own chunks, those of a
    sub-flow and those of a sub-flow inside it take the same places, also while some wait for their own signals."""
    inner, child, parent, gauge = (
        TriggerFlow(name="inner"),
        TriggerFlow(name="child"),
        TriggerFlow(name="parent"),
        Gauge(),
    )

    async def work(data: Data) -> Any:
        with gauge.inside():
            await asyncio.sleep(1)
        return data.value

    async def emits(data: Data) -> Any:
        await data.async_emit("more", settle=True)
        with gauge.inside():
            await asyncio.sleep(1)
        return data.value

    inner.batch(("one", emits), ("two", emits)).end()
    inner.when("more").to(("more", work))
    child.to(("before", work)).to_sub_flow(inner, concurrency=3).to(("after", work)).end()
    parent.for_each().to_sub_flow(child).end_for_each().end()
    parent.batch(("p1", work), ("p2", work), ("p3", work))
    assert await parent.create_execution(concurrency=2).async_start([1, 2, 3]) == [
        {"one": n, "two": n} for n in (1, 2, 3)
    ]
    assert (gauge.peak, gauge.total) == (2, 3 * (2 + 4) + 3)


async def test_s09_a_sub_flow_does_not_keep_its_places_from_others() -> None:
    """S9: a place that a chunk of a sub-flow gives back goes to whoever has waited for it longest."""
    child, parent, order = TriggerFlow(name="child"), TriggerFlow(name="parent"), list[str]()

    async def note(data: Data) -> None:
        order.append(data.chunk_name)
        await asyncio.sleep(1)

    child.for_each().to(("a", note)).to(("b", note)).end_for_each()
    parent.to_sub_flow(child)
    parent.to(("first", note)).to(("second", note))
    await parent.create_execution(concurrency=1).async_start(range(2))
    assert order == ["first", "a", "a", "second", "b", "b"]


@pytest.mark.parametrize("end", ["failure", "cancel", "pause"])
async def test_s09_places_come_back_however_a_sub_flow_ends(end: str) -> None:
    """S9 with S7, S8, S17: a sub-flow that fails, is taken back, or waits for an answer holds no place."""
    child, parent = TriggerFlow(name="child"), TriggerFlow(name="parent")

    async def inside(data: Data) -> None:
        await asyncio.sleep(1)
        if end == "failure":
            raise ERROR
        if end == "pause":
            data.pause_for(interrupt_id="q")
        await asyncio.sleep(100)

    async def starts(data: Data) -> None:
        number = await data.async_emit("go", provisional=True)
        await asyncio.sleep(5)
        if end == "cancel":
            await data.async_retract(number, "no")
        await data.async_emit("late")

    child.batch(("one", inside), ("two", slow), ("three", slow))
    parent.to(starts)
    parent.when("go").to_sub_flow(child)
    parent.when("late").to(("late", slow)).end()
    execution = await begun(parent, "x", concurrency=2, skip_exceptions=True)
    await asyncio.sleep(100)
    assert runtime_of(execution).machine.state.result is None
    for number in execution.get_pending_interrupts():
        await execution.async_continue_with(number)
    await execution.async_close()


@pytest.mark.parametrize("moment", [0.5, 1.5, 3.5])
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_s09_the_limits_around_a_sub_flow_hold_after_a_load(concurrency: int, moment: float) -> None:
    """S9 with S18: what a sub-flow had of its parent's places it asks for again."""
    child, parent, gauge = TriggerFlow(name="child"), TriggerFlow(name="parent"), Gauge()

    async def work(data: Data) -> Any:
        with gauge.inside():
            await asyncio.sleep(1)
        return data.value

    child.for_each(concurrency=2).to(work).to(("again", work)).end_for_each().end()
    parent.for_each().to_sub_flow(child).end_for_each().end()
    execution = await begun(parent, [range(3), range(3)], concurrency=concurrency)
    await asyncio.sleep(moment)
    saved = execution.save()
    await execution.async_cancel()
    assert await parent.load_execution(saved).async_get_result() == [[0, 1, 2]] * 2
    assert gauge.peak == concurrency


async def test_s09_concurrency_one_works_around_sub_flows() -> None:
    """S9: "`concurrency=1` works everywhere": a child never waits for the place that its own step holds."""
    child = TriggerFlow(name="child")
    child.batch(("one", slow), ("two", slow)).end()
    execution = nested(3, child).create_execution(concurrency=1)
    assert await execution.async_start(1) == {"one": 1, "two": 1}


async def test_a_side_branch_leaves_the_value_alone() -> None:
    """`side_branch=True`: the child runs beside the chain, and the execution waits for it."""
    child, parent, seen = TriggerFlow(name="child"), TriggerFlow(name="parent"), list[Any]()

    async def note(data: Data) -> None:
        await asyncio.sleep(10)
        seen.append(data.value)

    child.to(note)
    parent.to_sub_flow(child, side_branch=True).to(echo).end()
    assert await parent.async_start(1) == 1
    assert seen == [1]
