"""S19: "In memory any Python object passes, unchecked and uncopied", also one whose class raises whatever it is asked.

No such value can end in `InternalError`, leave half a change behind, or leave a handle that runs for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.core import invariants
from tests.hostile import ZOO, Bang, Boom, Row, Slow, holds
from tests.support import read, until
from triggerflow import Execution, TriggerFlow, TriggerFlowRuntimeData
from triggerflow._core.errors import InternalError
from triggerflow.errors import UsageError
from triggerflow.extension import runtime_of

Data = TriggerFlowRuntimeData[Any]

#: What a value may raise where it is asked after all: by a sync iterable's own protocol, say, in a branch that fails.
ITS_OWN = (Boom, Bang, TypeError, KeyError)


async def echo(data: Data) -> Any:
    return data.value


@pytest.fixture(params=ZOO)
def kind(request: pytest.FixtureRequest) -> str:
    """Not the value itself: a report of a failure would ask it."""
    return request.param


async def ends(execution: Execution, seen: list[Any], value: Any, *, may_fail: bool = False) -> None:
    """It has ended within its time, with the value where it belongs, or by an error of the value's own."""
    try:
        await asyncio.wait_for(execution.async_close(), 50)
    except InternalError:
        raise
    except ITS_OWN:
        assert may_fail
        assert execution.get_status() == "failed"
    else:
        assert execution.get_status() == "completed"
        assert holds(seen, value) or may_fail
        assert not runtime_of(execution).machine.state.block_instances
    invariants.check(runtime_of(execution).machine.state)


# -- every operator ----------------------------------------------------------------------------------------------------


def match(at: Any, mode: str, *literals: Any) -> Any:
    at = at.match(mode=mode)
    for number, literal in enumerate(literals):
        at = at.case(literal).to((f"case {number}", echo))
    return at.case_else().to(("else", echo)).end_match()


def sub_flow(at: Any) -> Any:
    child = TriggerFlow(name="child")
    child.to(("inside", echo)).end()
    return at.to_sub_flow(child)


LITERALS = (None, 0, 1, True, "text", b"bytes", 1.5, [1], (), {"a": 1}, {1, 2}, range(3))

#: With whether the operator asks the value for its items, so that an error of its own is right.
OPERATORS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "chunk": (lambda at: at.to(("next", echo)), False),
    "batch": (lambda at: at.batch(("left", echo), ("right", echo)), False),
    "side branch": (lambda at: at.side_branch(("aside", echo)).to(("main", echo)), False),
    "match": (lambda at: match(at, "hit_first", *LITERALS), False),
    "match all": (lambda at: match(at, "hit_all", *LITERALS), False),
    "match by condition": (lambda at: match(at, "hit_first", lambda data: False, "text", lambda data: False), False),
    "if": (lambda at: at.if_condition(lambda data: True).to(("yes", echo)).end_condition(), False),
    "for_each": (lambda at: at.for_each().to(("item", echo)).end_for_each(), True),
    "for_each, one at a time": (lambda at: at.for_each(concurrency=1).to(("item", echo)).end_for_each(), True),
    "for_each of for_each": (
        lambda at: at.for_each().for_each().to(("item", echo)).end_for_each().end_for_each(),
        True,
    ),
    "sub-flow": (sub_flow, False),
    "collection": (lambda at: at.to(("one", echo)).collect("all", "one"), False),
}


@pytest.mark.parametrize("operator", OPERATORS)
async def test_s19_a_value_goes_through_every_operator(operator: str, kind: str) -> None:
    value = ZOO[kind]()
    flow, seen = TriggerFlow(), list[Any]()
    build, asks = OPERATORS[operator]

    async def give(data: Data) -> Any:
        return value

    async def note(data: Data) -> None:
        seen.append(data.value)

    build(flow.to(give)).to(note).end()
    execution = flow.create_execution()
    execution.begin()
    await ends(execution, seen, value, may_fail=asks)


@pytest.mark.parametrize("where", ["batch", "for_each", "match"])
async def test_s19_items_and_branches_can_be_anything(where: str, kind: str) -> None:
    """S10: as an item of a for_each, in the result of a batch, between two matches."""
    value = ZOO[kind]()
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> Any:
        seen.append(data.value)
        return data.value

    at = flow.for_each(concurrency=2)
    if where == "batch":
        at = at.batch(("one", echo), ("two", note))
    elif where == "match":
        at = match(match_first(at), "hit_all", "text", 5)
    at.to(("last", note)).end_for_each().to(("all", note)).end()
    execution = flow.create_execution()
    execution.begin([value, value, value])
    await ends(execution, seen, value)


async def test_s19_many_records_of_anything_are_held(kind: str) -> None:
    """The journal measures what it holds, and asks no value for that."""
    value = ZOO[kind]()
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> Any:
        seen.append(data.value)
        return data.value

    flow.for_each(concurrency=2).to(note).end_for_each().end()
    execution = flow.create_execution()
    execution.begin([[value, {"a": value}] for _ in range(200)])
    await ends(execution, seen, value)


def match_first(at: Any) -> Any:
    return at.match().case("first").to(("first", echo)).case_else().to(("not the first", echo)).end_match()


@pytest.mark.parametrize("mode", ["and", "or", "simple_or"])
async def test_s19_a_value_meets_others(mode: Any, kind: str) -> None:
    """S11: joined by a `when`, or passed on by one."""
    value = ZOO[kind]()
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value)

    async def give(data: Data) -> None:
        await data.async_emit("one", value)
        await data.async_emit("two", value, settle=True)

    flow.to(give)
    flow.when(["one", "two"], mode=mode).to(note).end()
    execution = flow.create_execution()
    execution.begin()
    await ends(execution, seen, value)


# -- every entry -------------------------------------------------------------------------------------------------------

Give = Callable[[Execution, Any], Awaitable[Any]]


async def start(execution: Execution, value: Any) -> None:
    execution.begin(value)


async def emit(execution: Execution, value: Any) -> None:
    execution.begin()
    await execution.async_emit("value", value)
    await execution.async_close()


async def settle(execution: Execution, value: Any) -> None:
    execution.begin()
    await execution.async_emit("value", value, settle=True)
    await execution.async_close()


async def emit_in_a_chunk(execution: Execution, value: Any) -> None:
    execution.begin(lambda data: data.async_emit("value", value))


async def settle_in_a_chunk(execution: Execution, value: Any) -> None:
    execution.begin(lambda data: data.async_emit("value", value, settle=True))


async def delayed(execution: Execution, value: Any) -> None:
    execution.begin(lambda data: data.async_emit("value", value, delay=3))


async def provisional(execution: Execution, value: Any) -> None:
    execution.begin(lambda data: data.async_emit("value", value, provisional=True))


async def state(execution: Execution, value: Any) -> None:
    execution.begin(lambda data: data.state.async_set("value", value))


async def append(execution: Execution, value: Any) -> None:
    execution.begin(lambda data: data.state.async_append("value", value))


async def append_to_a_list_of_its_own(execution: Execution, value: Any) -> None:
    async def do(data: Data) -> None:
        data.state.set("value", ZOO["list"](), emit=False)
        data.state.append("value", value)

    execution.begin(do)


async def state_from_outside(execution: Execution, value: Any) -> None:
    execution.begin()
    execution.state.set("value", value)
    await execution.async_close()


async def shared(execution: Execution, value: Any) -> None:
    execution.begin(lambda data: data.flow_state.async_set("value", value))


async def answer(execution: Execution, value: Any) -> None:
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", payload=value, resume_event="value")

    execution.begin(ask)
    await asyncio.sleep(1)
    await execution.async_continue_with("q", value, request_id="r")
    await execution.async_continue_with("q", value, request_id="r")


async def returned(execution: Execution, value: Any) -> None:
    async def give(data: Data) -> Any:
        return value

    execution.begin(give)


ENTRIES: list[Give] = [
    start,
    emit,
    settle,
    emit_in_a_chunk,
    settle_in_a_chunk,
    delayed,
    provisional,
    state,
    append,
    append_to_a_list_of_its_own,
    state_from_outside,
    shared,
    answer,
    returned,
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda it: it.__name__)
async def test_s19_a_value_comes_in_by_every_entry(entry: Give, kind: str) -> None:
    value = ZOO[kind]()
    flow, seen = TriggerFlow(), list[Any]()

    async def first(data: Data) -> Any:
        return await data.value(data) if type(data.value) is type(first) else data.value

    async def note(data: Data) -> Any:
        seen.append(data.value)
        return data.value

    at = flow.to(first)
    heard = {"event": "value", "runtime_data": "value", "flow_data": "value"}
    flow.when(heard, mode="simple_or").to(note).match().case("text").case_else().end_match().to(("last", note))
    at.to(note)
    execution = flow.create_execution()
    await entry(execution, value)
    await ends(execution, seen, value)


async def test_s19_a_result_can_be_anything(kind: str) -> None:
    """S5: "Falsy results are results", and so is one that nobody can ask."""
    value = ZOO[kind]()
    flow = TriggerFlow()

    async def set_it(data: Data) -> None:
        data.set_result(value)
        data.set_result(value, replace=True)

    flow.to(set_it)
    assert await flow.async_start() is value
    ended = TriggerFlow()
    ended.to(echo).end()
    assert await ended.async_start(value) is value


async def test_s19_a_stream_item_can_be_anything(kind: str) -> None:
    """S14: also for a reader."""
    value = ZOO[kind]()
    flow = TriggerFlow()

    async def put(data: Data) -> None:
        await data.async_put_into_stream(value)
        data.put_into_stream(value)

    flow.to(put)
    items = await read(flow.create_execution().get_async_runtime_stream("go"))
    assert len(items) == 2
    assert all(item is value for item in items)


# -- what is asked after all -------------------------------------------------------------------------------------------


async def test_s10_a_row_is_one_item() -> None:
    """S10: what cannot be iterated is one item, whatever it says to a lookup of its attributes."""
    flow = TriggerFlow()

    async def body(data: Data) -> Any:
        return data.value.x

    flow.for_each().to(body).end_for_each().end()
    assert await flow.async_start(Row({"x": 1})) == [1]


@pytest.mark.parametrize("kind", [list, tuple])
async def test_s10_a_list_of_a_class_of_its_own_is_iterated_as_it_says(kind: type) -> None:
    """S10: "for_each takes any iterable": its own `__iter__` decides, as it does in a `for`."""

    def backwards(self: Any) -> Any:
        return iter(kind.__getitem__(self, slice(None, None, -1)))

    made: Any = type("Backwards", (kind,), {"__iter__": backwards})
    flow = TriggerFlow()
    flow.for_each(concurrency=1).to(echo).end_for_each().end()
    assert await flow.async_start(made([1, 2, 3])) == [3, 2, 1]


async def test_s10_what_is_a_mapping_to_isinstance_is_one_item() -> None:
    """S10: "a mapping ... is one item", also a class that was registered as one, and a proxy of a dict."""
    from collections.abc import Mapping

    @Mapping.register
    class Registered:
        def __iter__(self) -> Any:
            raise AssertionError("it was iterated over")

    class Proxy:
        __class__ = property(lambda self: dict)  # type: ignore[assignment]

        def __iter__(self) -> Any:
            raise AssertionError("it was iterated over")

    flow = TriggerFlow()
    flow.for_each().to(echo).end_for_each().end()
    for value in (Registered(), Proxy()):
        (item,) = await flow.async_start(value)
        assert item is value


@pytest.mark.parametrize("mode", ["hit_first", "hit_all"])
async def test_s12_a_literal_is_compared_by_the_value_s_own_equality(mode: Any) -> None:
    """`case(literal)`: a class that says it equals the literal is a hit, whether the literal or the value has it."""

    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Point | int) and getattr(other, "x", other) == self.x

        __hash__ = object.__hash__

    flow = TriggerFlow()
    at = flow.match(mode=mode).case("x").to(("text", lambda data: "text"))
    at = at.case(Point(1)).to(("one", lambda data: "one")).case(2).to(("two", lambda data: "two"))
    at.case_else().to(("else", lambda data: "else")).end_match().end()
    wanted = {"x": "text", 1: "one", 2: "two", 3: "else"}
    for value, name in wanted.items():
        expected = [name] if mode == "hit_all" and name != "else" else name
        assert await flow.async_start(value) == expected
        if isinstance(value, int):
            assert await flow.async_start(Point(value)) == expected


async def test_s13_a_comparison_that_takes_its_time_blocks_nobody() -> None:
    """S13: "never on the loop": the `==` of a value runs in a thread, and the execution can be cancelled meanwhile."""
    flow = TriggerFlow()
    flow.match().case("text").to(("hit", echo)).end_match().end()
    slow = Slow()
    execution = flow.create_execution()
    execution.begin(slow)
    await until(slow.asked)
    assert execution.get_status() == "running"
    slow.go.set()
    assert await execution.async_get_result() is slow


async def test_a_comparison_that_calls_back_is_taken_in_like_any_other_call() -> None:
    """A value's `==` may do anything a chunk's thread may do; nothing of it happens in the middle of a change."""
    flow, seen = TriggerFlow(), list[Any]()
    execution = flow.create_execution()

    class Chatty:
        def __eq__(self, other: object) -> bool:
            execution.emit("heard", "from the comparison")
            return False

        __hash__ = object.__hash__

    async def note(data: Data) -> None:
        seen.append(data.value)

    flow_value = Chatty()
    flow.match().case("text").to(("hit", echo)).case_else().to(("else", echo)).end_match().end()
    flow.when("heard").to(note)
    execution = flow.create_execution()
    execution.begin(flow_value)
    assert await execution.async_get_result() is flow_value
    assert seen == ["from the comparison"]


@pytest.mark.parametrize("what", ["name", "key", "interrupt"])
async def test_names_are_read_as_the_text_they_are(what: str) -> None:
    """A name of a class of its own, an enum's say, is taken and recorded as its text, whatever it looks like."""
    flow, seen = TriggerFlow(), list[Any]()

    def ask(*_: Any) -> Any:
        raise Boom("a name was asked")

    name: Any = type("Name", (str,), dict.fromkeys(("__str__", "__format__", "__bool__", "__len__"), ask))

    async def first(data: Data) -> None:
        if what == "name":
            await data.async_emit(name("value"), 1, settle=True)
        elif what == "key":
            data.state.set(name("value"), 1)
        else:
            data.pause_for(interrupt_id="q", resume_event=name("value"))

    async def note(data: Data) -> None:
        seen.append((type(data.trigger_event), data.trigger_event))

    flow.to(first)
    flow.when({"event": "value", "runtime_data": "value"}, mode="or").to(note)
    execution = flow.create_execution()
    execution.begin()
    if what == "interrupt":
        await asyncio.sleep(1)
        await execution.async_continue_with("q")
    await execution.async_close()
    assert seen == [(str, "value")]


async def test_a_key_that_is_no_key_is_refused_and_changes_nothing() -> None:
    flow = TriggerFlow()
    flow.to(echo)
    execution = flow.create_execution()
    execution.begin()
    for key in (ZOO["hash"](), ZOO["eq, past Exception"](), ZOO["metaclass"]()):
        with pytest.raises(UsageError, match="a key of state is a string"):
            execution.state.set(key, 1)
    assert execution.state.to_dict() == {}
    await execution.async_close()
