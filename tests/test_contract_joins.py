"""The contract's line on joins (S11): the latest value waits, a full set is taken as a whole, once."""

import asyncio
import itertools
from typing import Any

import pytest

from tests.support import external, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError
from triggerflow.extension import blueprint_of, runtime_of

Data = TriggerFlowRuntimeData[Any]


def joining(triggers: Any, mode: Any = "and", before: Any = None) -> tuple[TriggerFlow, list[Any]]:
    """A flow that notes every value that a join gives."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value)
        if before is not None:
            await before(data)

    flow.when(triggers, mode=mode).to(note)
    external(flow, *(it.name for it in blueprint_of(flow).triggers(triggers) if it.kind == "event"))
    return flow, seen


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
async def test_s11_a_full_set_fires_exactly_once_in_any_order(order: tuple[str, ...]) -> None:
    """S11: "`when` in `and` mode: the latest value per signal waits; a full set is consumed atomically and fires
    exactly once." In the order of definition, whatever the order of arrival."""
    flow, seen = joining(["a", "b", "c"])
    execution = flow.create_execution()
    execution.begin()
    for round_ in (1, 2):
        for name in order:
            await execution.async_emit(name, f"{name}{round_}")
        await turns(3)
    await execution.async_close()
    assert seen == [{"event": {"a": f"a{round_}", "b": f"b{round_}", "c": f"c{round_}"}} for round_ in (1, 2)]
    assert [list(value["event"]) for value in seen] == [["a", "b", "c"]] * 2


async def test_s11_the_latest_value_per_signal_waits() -> None:
    """S11: "the latest value per signal waits": older ones are replaced, and a set needs all again after it was
    taken."""
    flow, seen = joining({"event": ["a", "b"]})
    execution = flow.create_execution()
    execution.begin()
    for name, value in (("a", 1), ("a", 2), ("a", None), ("b", 3), ("b", 4), ("b", 5), ("a", 6), ("a", 7)):
        await execution.async_emit(name, value)
    await execution.async_close()
    assert seen == [{"event": {"a": None, "b": 3}}, {"event": {"a": 6, "b": 5}}]


async def test_s11_a_set_is_consumed_before_the_chunk_behind_the_join_runs() -> None:
    """S11: "a full set is consumed atomically": what arrives while the joined chunk runs belongs to the next set."""

    async def slow(data: Data) -> None:
        await asyncio.sleep(10)

    flow, seen = joining(["a", "b"], before=slow)
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("a", 1)
    await execution.async_emit("b", 1)
    await asyncio.sleep(1)
    await execution.async_emit("a", 2)
    await asyncio.sleep(1)
    assert len(seen) == 1
    await execution.async_emit("b", 2)
    await execution.async_close()
    assert seen == [{"event": {"a": 1, "b": 1}}, {"event": {"a": 2, "b": 2}}]


async def test_s11_the_chunk_behind_a_join_may_feed_it_again() -> None:
    """S11: a signal emitted by the joined chunk itself waits for its partner, and is not lost."""

    async def again(data: Data) -> None:
        if data.value["event"]["a"] < 3:
            await data.async_emit("a", data.value["event"]["a"] + 1)

    flow, seen = joining(["a", "b"], before=again)
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("a", 1)
    for number in range(1, 4):
        await execution.async_emit("b", number, settle=True)
    await execution.async_close()
    assert [(value["event"]["a"], value["event"]["b"]) for value in seen] == [(1, 1), (2, 2), (3, 3)]


async def test_s11_kinds_of_signals_join_with_each_other() -> None:
    """S11: an event, a key of state, a key of shared data and a chunk; each under its kind, of one name if need be."""
    flow, seen = TriggerFlow(), list[Any]()

    async def source(data: Data) -> str:
        data.state.set("x", "state")
        data.flow_state.set("x", "flow data")
        await data.async_emit("x", "event")
        assert not seen
        return "chunk"

    async def note(data: Data) -> None:
        seen.append(data.value)

    chunk = flow.chunk("source")(source)
    flow.to(chunk)
    flow.when({"event": ["x", chunk], "runtime_data": "x", "flow_data": "x"}).to(note)
    await flow.async_start()
    assert seen == [
        {"event": {"x": "event", "source": "chunk"}, "runtime_data": {"x": "state"}, "flow_data": {"x": "flow data"}}
    ]


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("or", [("event", "a", 1), ("runtime_data", "k", 2), ("event", "a", 3)]),
        ("simple_or", [1, 2, 3]),
        ("and", [{"event": {"a": 1}, "runtime_data": {"k": 2}}]),
    ],
)
async def test_s11_modes(mode: str, wanted: list[Any]) -> None:
    """S11 beside its neighbours: `or` says which signal it was, `simple_or` gives the bare value."""
    flow, seen = joining({"event": "a", "runtime_data": "k"}, mode)

    async def source(data: Data) -> None:
        await data.async_emit("a", 1)
        data.state.set("k", 2)
        await data.async_emit("a", 3)

    flow.to(source)
    await flow.async_start()
    assert seen == wanted


@pytest.mark.parametrize("mode", ["and", "or", "simple_or"])
@pytest.mark.parametrize("triggers", ["a", ["a"], {"event": "a"}, {"event": ["a", "a"]}, ("a",)])
async def test_s11_a_single_signal_gives_its_value_in_every_mode(triggers: Any, mode: str) -> None:
    """S11: one signal is no set; the same one named twice is still one."""
    flow, seen = joining(triggers, mode)
    execution = flow.create_execution()
    execution.begin()
    await execution.async_emit("a", 1)
    await execution.async_emit("a", 2)
    await execution.async_close()
    assert seen == [1, 2]


async def test_s11_two_joins_on_the_same_signals_each_get_them() -> None:
    """S11: a join consumes its own set, not its neighbour's."""
    flow, seen = TriggerFlow(), list[str]()

    async def note(data: Data) -> None:
        seen.append(data.chunk_name)

    flow.when(["a", "b"]).to(("first", note))
    flow.when(["a", "b"]).to(("second", note))
    flow.when(["b", "c"]).to(("third", note))
    external(flow, "a", "b", "c")
    execution = flow.create_execution()
    execution.begin()
    for name in "abcba":
        await execution.async_emit(name)
    await execution.async_close()
    assert seen == ["first", "second", "third", "first", "second"]


async def test_s11_executions_of_one_flow_do_not_share_half_full_sets() -> None:
    """S11: what waits in a join belongs to one execution."""
    flow, seen = joining(["a", "b"])
    one, other = flow.create_execution(), flow.create_execution()
    for execution in (one, other):
        execution.begin()
    await one.async_emit("a")
    await other.async_emit("b")
    await one.async_close()
    await other.async_close()
    assert seen == []


async def test_s11_values_of_any_kind_wait() -> None:
    """S11: values are held, not looked at; one that cannot be compared or hashed waits like any other."""

    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not comparable")

    odd = Odd()
    flow, seen = joining(["a", "b"])
    execution = flow.create_execution()
    execution.begin(odd)
    await execution.async_emit("a", odd)
    await execution.async_emit("a", odd)
    await execution.async_emit("b", None)
    await execution.async_close()
    assert seen[0]["event"]["a"] is odd


@pytest.mark.parametrize("through", ["gate", "chain", "blocks", "two", "all branches"])
def test_a_collection_that_feeds_itself_is_an_error_of_the_definition(through: str) -> None:
    """A loop with no chunk in it would never come to rest: told by name before the first run, not by the stack."""
    flow = TriggerFlow()
    start = flow.when({"collect": "c"})
    if through == "gate":
        start.collect("c", "x")
    elif through == "chain":
        flow.to(lambda data: 1).collect("c", "x").collect("c", "y")
    elif through == "blocks":
        start.match().case(1).case_else().end_match().collect("c", "x")
    elif through == "two":
        start.collect("d", "x")
        flow.when({"collect": "d"}).collect("c", "x")
    else:
        start.collect("c", "x", mode="filled_then_empty")
        flow.when({"collect": "c"}).collect("c", "y", mode="filled_then_empty")
    with pytest.raises(DefinitionError, match=r"collection '[cd]' leads back to itself"):
        flow.create_execution()


async def test_a_collection_may_feed_one_of_its_own_branches() -> None:
    """With "filled_then_empty" all branches have to arrive anew, so that a fed-back value waits for the others."""
    flow, seen = TriggerFlow(), list[Any]()

    async def source(data: Data) -> None:
        for number in range(3):
            await asyncio.sleep(1)
            await data.async_emit("item", number)

    flow.to(("first", lambda data: "seed")).collect("c", "x", mode="filled_then_empty")
    flow.to(source)
    flow.when("item").collect("c", "y", mode="filled_then_empty")
    flow.when({"collect": "c"}).collect("c", "x", mode="filled_then_empty")
    flow.when({"collect": "c"}).to(("note", lambda data: seen.append(data.value["y"])))
    await flow.async_start()
    assert seen == [0, 1, 2]


async def pause(data: Data) -> Any:
    await asyncio.sleep(data.value)
    return data.value


async def echo(data: Data) -> Any:
    return data.value


BODIES = {
    "one after the other": lambda at: at.to(("c", pause)).to(("d", echo)),
    "the other way round": lambda at: at.to(("d", echo)).to(("c", pause)),
    "side by side": lambda at: at.batch(("c", pause), ("d", echo)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("items", [[1, 5], [5, 1], [3, 2, 1]])
async def test_s11_what_the_items_of_a_for_each_send_is_joined_item_by_item(items: list[int], body: Any) -> None:
    """Joins are keyed by scope: signals of two items never mix, in whatever order the chunks end."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value["event"])

    body(flow.for_each()).end_for_each().end()
    flow.when({"chunk": ["c", "d"]}).to(note)
    await flow.async_start(items)
    assert sorted(seen, key=str) == sorted(({"c": item, "d": item} for item in items), key=str)


async def test_s11_a_branch_that_outlives_its_item_still_meets_it() -> None:
    """A branch beside the chain does not hold its item up; what it sends is joined with what its item has sent."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value["event"])

    flow.for_each().side_branch(("c", pause)).to(("d", echo)).end_for_each().end()
    flow.when({"chunk": ["c", "d"]}).to(note)
    execution = flow.create_execution()
    assert await execution.async_start([3, 1, 2]) == [3, 1, 2]
    assert (seen, runtime_of(execution).machine.state.joins or {}) == (
        [{"c": item, "d": item} for item in (1, 2, 3)],
        {},
    )


async def test_s11_an_item_that_sends_half_of_a_set_leaves_nothing_behind() -> None:
    """Nothing of a half-filled set meets another item, and nothing of it is kept once nothing runs any more."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value["event"])

    flow.for_each().to(("c", echo)).match().case(2).to(("d", echo)).end_match().end_for_each().end()
    flow.when({"chunk": ["c", "d"]}).to(note)
    execution = flow.create_execution(keep_open=True)
    assert await execution.async_start([1, 2, 3]) == [1, 2, 3]
    assert (seen, runtime_of(execution).machine.state.joins or {}) == ([{"c": 2, "d": 2}], {})
