"""Failures give no value (decision 0018).

The table: when a branch has failed, what happens

| | nothing says otherwise | an error route or `skip_exceptions` | `on_error="collect"` | `fallback=` |
| batch, match, if, hit_all | the execution fails | the block does not go on | a `Failure` in its place | that value |
| for_each | the execution fails | the other items go on, this one is left out | a `Failure`, order kept | that value |
| `when` and-joins, collect | the execution fails | that side is not filled | - | that value |
| sub-flow | a failed step like any chunk | like any chunk | - | that value |
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support import Lazy, now, turns
from triggerflow import Chain, Failure, Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ContractError, DefinitionError, InterruptExpired
from triggerflow.records import Completed

Data = TriggerFlowRuntimeData[Any]


class Declined(Exception):
    """What `charge` raises."""


async def echo(data: Data) -> Any:
    return data.value


async def charge(data: Data) -> Any:
    raise Declined(f"card of {data.value}")


async def late(data: Data) -> Any:
    await asyncio.sleep(5)
    return "late"


def odd(data: Data) -> Any:
    """A sync chunk, which runs in a thread."""
    if data.value % 2:
        raise Declined(f"card of {data.value}")
    return data.value * 10


async def slow_odd(data: Data) -> Any:
    await asyncio.sleep(10 - data.value)
    return odd(data)


def failed(value: Any, chunk: str = "charge") -> Failure:
    return Failure(chunk, "Declined", f"card of {value}", value)


def truly(data: Data) -> bool:
    return True


def refuses(data: Data) -> bool:
    raise Declined(f"card of {data.value}")


# -- blocks with one failed branch -------------------------------------------------------------------------------------


def batch(at: Any, chunk: Any, on_error: Any) -> Chain:
    return at.batch(chunk, ("other", late), on_error=on_error)


def batch_last(at: Any, chunk: Any, on_error: Any) -> Chain:
    return at.batch(("other", echo), chunk, on_error=on_error)


def batch_limited(at: Any, chunk: Any, on_error: Any) -> Chain:
    return at.batch(chunk, ("other", echo), concurrency=1, on_error=on_error)


def if_block(at: Any, chunk: Any, on_error: Any) -> Chain:
    return at.if_condition(truly, on_error=on_error).to(chunk).else_condition().to(("no", echo)).end_condition()


def if_then(at: Any, chunk: Any, on_error: Any) -> Chain:
    return at.if_condition(truly, on_error=on_error).to(chunk).to(("then", echo)).end_condition()


def else_block(at: Any, chunk: Any, on_error: Any) -> Chain:
    process = at.match(on_error=on_error).case("another").to(("no", echo))
    return process.case_else().to(chunk).end_match()


def match_literal(at: Any, chunk: Any, on_error: Any) -> Chain:
    return at.match(on_error=on_error).case("order").to(chunk).case_else().to(("no", echo)).end_match()


def hit_all(at: Any, chunk: Any, on_error: Any) -> Chain:
    process = at.match(mode="hit_all", on_error=on_error).case("order").to(chunk)
    return process.case(truly).to(("other", late)).case("none").to(("no", echo)).end_match()


def batch_in_if(at: Any, chunk: Any, on_error: Any) -> Chain:
    return at.if_condition(truly, on_error=on_error).batch(chunk, ("other", late)).to(("inner", echo)).end_condition()


def if_in_hit_all(at: Any, chunk: Any, on_error: Any) -> Chain:
    process = at.match(mode="hit_all", on_error=on_error).case(truly)
    process = process.if_condition(truly).to(chunk).end_condition().case("order").to(("other", echo))
    return process.end_match()


#: Each block, and what it gives with `on_error="collect"`.
BLOCKS: dict[Any, Any] = {
    batch: {"charge": failed("order"), "other": "late"},
    batch_last: {"other": "order", "charge": failed("order")},
    batch_limited: {"charge": failed("order"), "other": "order"},
    if_block: failed("order"),
    if_then: failed("order"),
    else_block: failed("order"),
    match_literal: failed("order"),
    hit_all: [failed("order"), "late"],
    batch_in_if: failed("order"),
    if_in_hit_all: [failed("order"), "order"],
}


def shop(block: Any, on_error: str = "raise", chunk: Any = charge, **options: Any) -> tuple[TriggerFlow, list[Any]]:
    """A block, and what ships what it gives."""
    flow, shipped = TriggerFlow(name="shop", **options), list[Any]()

    async def ship(data: Data) -> Any:
        shipped.append(data.value)
        return data.value

    block(flow.to(("first", echo)), chunk, on_error).to(ship).end()
    return flow, shipped


@pytest.mark.parametrize("block", BLOCKS)
async def test_without_anything_else_the_execution_fails(block: Any) -> None:
    flow, shipped = shop(block)
    with pytest.raises(Declined):
        await flow.async_start("order")
    assert shipped == []


@pytest.mark.parametrize("route", ["own", "general"])
@pytest.mark.parametrize("block", BLOCKS)
async def test_a_block_with_a_routed_failure_does_not_go_on(block: Any, route: str) -> None:
    flow, shipped = shop(block)
    undo = ("undo", lambda data: data.value)
    if route == "own":
        flow.when({"error": charge}).to(undo).end()
    else:
        flow.on_error(undo).end()
    told = {"chunk": "charge", "type": "Declined", "message": "card of order", "value": "order"}
    assert await flow.async_start("order") == told
    assert shipped == []


@pytest.mark.parametrize("block", BLOCKS)
async def test_a_block_with_a_skipped_failure_does_not_go_on(block: Any, caplog: pytest.LogCaptureFixture) -> None:
    flow, shipped = shop(block, skip_exceptions=True)
    execution = flow.create_execution()
    assert await execution.async_start("order") is None
    assert execution.get_status() == "completed"
    assert shipped == []
    assert "chunk 'charge'" in caplog.text
    assert "Declined: card of order" in caplog.text, "the log says why"


@pytest.mark.parametrize("taker", ["route", "skip_exceptions"])
@pytest.mark.parametrize("block", BLOCKS)
async def test_a_block_that_collects_puts_the_failure_in_its_place(block: Any, taker: str) -> None:
    """It comes before the error routes and `skip_exceptions`."""
    flow, shipped = shop(block, "collect", skip_exceptions=taker == "skip_exceptions")
    if taker == "route":
        flow.on_error(("undo", echo)).end()
    assert await flow.async_start("order") == BLOCKS[block]
    assert shipped == [BLOCKS[block]]


@pytest.mark.parametrize("block", BLOCKS)
async def test_a_fallback_takes_the_place_before_all_others(block: Any) -> None:
    flow, shipped = shop(block, "collect", TriggerFlow().chunk("charge", fallback="on account")(charge))
    flow.on_error(("undo", echo)).end()
    result = await flow.async_start("order")
    assert "Declined" not in str(result)
    assert "on account" in str(result)
    assert shipped == [result]


@pytest.mark.parametrize("taker", ["nothing", "route", "skip", "collect"])
@pytest.mark.parametrize("mode", ["hit_first", "hit_all", "if", "elif", "nested"])
async def test_a_condition_that_raises_is_neither_true_nor_false(mode: str, taker: str) -> None:
    flow, ran = TriggerFlow(name="door", skip_exceptions=taker == "skip"), list[str]()
    on_error: Any = "collect" if taker == "collect" else "raise"

    async def note(data: Data) -> str:
        ran.append(data.chunk_name)
        return data.chunk_name

    at: Any = flow
    match mode:
        case "if":
            at = at.if_condition(refuses, on_error=on_error).to(("yes", note)).else_condition().to(("no", note))
            at = at.end_condition()
        case "elif":
            at = at.match(on_error=on_error).case("another").to(("one", note)).case(refuses).to(("yes", note))
            at = at.case_else().to(("no", note)).end_match()
        case "nested":
            at = at.match(on_error=on_error).case(truly).match().case(refuses).to(("yes", note)).end_match()
            at = at.to(("after", note)).case_else().to(("no", note)).end_match()
        case _:
            at = at.match(mode=mode, on_error=on_error).case(truly).to(("one", note)) if mode == "hit_all" else at
            at = at.match(mode=mode, on_error=on_error) if mode == "hit_first" else at
            at = at.case(refuses).to(("yes", note)).case_else().to(("no", note)).end_match()
    at.to(("behind", lambda data: data.value)).end()
    if taker == "route":
        flow.on_error(("route", lambda data: data.value["type"])).end()
    if taker == "nothing":
        with pytest.raises(Declined):
            await flow.async_start("user")
    else:
        result = await flow.async_start("user")
        if taker == "collect":
            (failure,) = result if mode == "hit_all" else [result]
            assert (type(failure), failure.type, failure.value) == (Failure, "Declined", "user")
        else:
            assert result == ("Declined" if taker == "route" else None)
    assert ran == []


# -- for_each ----------------------------------------------------------------------------------------------------------


def given(kind: str) -> Any:
    async def items() -> AsyncIterator[int]:
        for item in range(5):
            yield item

    return {"list": [0, 1, 2, 3, 4], "range": range(5), "iterator": Lazy([0, 1, 2, 3, 4]), "async": items()}[kind]


SOURCES = ["list", "range", "iterator", "async"]


def each(body: Any, source: str, **options: Any) -> TriggerFlow:
    flow = TriggerFlow(name="files", skip_exceptions=options.pop("skip_exceptions", False))
    at = flow.to(("source", lambda data: given(source))) if source != "list" else flow.to(("source", echo))
    at.for_each(**options).to(("work", body)).end_for_each().to(("after", echo)).end()
    if source == "iterator":
        flow.register_type(Lazy)
    return flow


BODIES = pytest.mark.parametrize("body", [odd, slow_odd], ids=["sync", "async"])
LIMITS = pytest.mark.parametrize("concurrency", [None, 1, 2])


@BODIES
@LIMITS
@pytest.mark.parametrize("taker", ["route", "skip"])
@pytest.mark.parametrize("source", ["list", "range", "iterator"])
async def test_a_failed_item_is_left_out(source: str, taker: str, concurrency: int | None, body: Any) -> None:
    flow, seen = each(body, source, concurrency=concurrency, skip_exceptions=taker == "skip"), list[Any]()
    if taker == "route":
        flow.on_error(("route", lambda data: seen.append(data.value["value"])))
    assert await flow.async_start([0, 1, 2, 3, 4]) == [0, 20, 40]
    assert sorted(seen) == ([1, 3] if taker == "route" else [])


@BODIES
@LIMITS
@pytest.mark.parametrize("source", ["list", "range", "iterator"])
async def test_a_for_each_collects_failures_in_order(source: str, concurrency: int | None, body: Any) -> None:
    flow = each(body, source, concurrency=concurrency, on_error="collect")
    flow.on_error(("route", echo)).end()
    expected = [0, failed(1, "work"), 20, failed(3, "work"), 40]
    assert await flow.async_start([0, 1, 2, 3, 4]) == expected


async def test_all_items_fail_and_the_list_is_empty() -> None:
    flow = each(charge, "list", skip_exceptions=True)
    assert await flow.async_start([1, 2]) == []


async def test_an_item_fails_anywhere_in_its_chain_and_in_nested_blocks() -> None:
    flow = TriggerFlow(name="nested", skip_exceptions=True)
    at = flow.for_each().to(("first", echo)).for_each().if_condition(lambda data: data.value > 0)
    at = at.batch(("work", odd), ("other", echo)).to(("pick", lambda data: data.value["work"])).end_condition()
    at.end_for_each().end_for_each().end()
    assert await flow.async_start([[0, 1], [1, 3], [2, 4]]) == [[0], [], [20, 40]]


@pytest.mark.parametrize("collects", ["outer", "inner", "batch"])
async def test_the_innermost_block_that_collects_takes_the_failure(collects: str) -> None:
    flow = TriggerFlow(name="nested")
    how: dict[str, Any] = {name: "collect" if name == collects else "raise" for name in ("outer", "inner", "batch")}
    at = flow.for_each(on_error=how["outer"]).for_each(on_error=how["inner"])
    at.batch(("work", odd), ("other", echo), on_error=how["batch"]).end_for_each().end_for_each().end()
    fine, one = {"work": 20, "other": 2}, failed(1, "work")
    expected = {
        "outer": [[fine], one],
        "inner": [[fine], [one, fine]],
        "batch": [[fine], [{"work": one, "other": 1}, fine]],
    }
    assert await flow.async_start([[2], [1, 2]]) == expected[collects]


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("around", ["batch", "if", "for_each", "itself", "nothing"])
async def test_a_source_that_raises_is_a_failure_of_the_for_each(around: str, kind: str) -> None:
    flow = TriggerFlow(name="source")

    @flow.source
    def items() -> Iterator[int]:
        yield 1
        raise Declined("source")

    @flow.source
    async def async_items() -> AsyncIterator[int]:
        yield 1
        raise Declined("source")

    source = ("source", lambda data: async_items() if kind == "async" else items())
    at: Any = flow
    match around:
        case "if":
            at = at.if_condition(truly, on_error="collect").to(source).for_each().to(("work", echo)).end_for_each()
            at = at.to(("count", lambda data: len(data.value))).end_condition()
        case "for_each":
            at = at.to(("one", lambda data: ["x"])).for_each(on_error="collect").to(source).for_each()
            at = at.to(("work", echo)).end_for_each().end_for_each()
        case "batch":
            at = at.match(mode="hit_all", on_error="collect").case(truly).to(source).for_each().to(("work", echo))
            at = at.end_for_each().case(truly).to(("fine", echo)).end_match()
        case _:
            how: Any = "collect" if around == "itself" else "raise"
            at = at.to(source).for_each(on_error=how).to(("work", echo)).end_for_each()
    at.end()
    if around in ("itself", "nothing"):
        with pytest.raises(Declined):
            await flow.async_start("x")
        return
    result = await flow.async_start("x")
    failure = result if around == "if" else result[0]
    assert (failure.type, failure.message, failure.value) == ("Declined", "source", None)
    assert result == {"if": failure, "for_each": [failure], "batch": [failure, "x"]}[around]


# -- forks inside an item ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [1, 3, 9])
@pytest.mark.parametrize("taker", ["skip", "route"])
async def test_a_failed_fork_cuts_no_collection_of_other_forks(when: int, taker: str) -> None:
    flow, ran = TriggerFlow(name="forks", skip_exceptions=taker == "skip"), list[Any]()

    async def fails_at(data: Data) -> None:
        await asyncio.sleep(when)
        raise Declined

    item = flow.for_each()
    item.to(("bad", fails_at)).end_for_each().to(("after", lambda data: ran.append(data.value))).end()
    item.to(("quick", echo)).collect("both", "q")
    item.to(("slow", late)).collect("both", "s").to(("joined", lambda data: ran.append(data.value)))
    if taker == "route":
        flow.on_error(("route", echo))
    await flow.async_start([1])
    assert sorted(map(str, ran)) == ["[]", "{'q': 1, 's': 'late'}"]


@pytest.mark.parametrize("first", [1, 9])
async def test_an_item_that_has_ended_cuts_no_collection_of_its_forks(first: int) -> None:
    """Whether the end of the item or the collection comes first."""
    flow, ran = TriggerFlow(name="forks"), list[Any]()
    item = flow.for_each()
    item.to(("end", lambda data: asyncio.sleep(first))).end_for_each()
    item.to(("quick", echo)).collect("both", "q")
    item.to(("slow", late)).collect("both", "s").to(("joined", lambda data: ran.append(data.value)))
    await flow.async_start([1])
    assert ran == [{"q": 1, "s": "late"}]


async def test_a_collection_before_the_end_needs_all_its_branches() -> None:
    flow = TriggerFlow(name="ways", skip_exceptions=True)
    item = flow.for_each()
    item.to(("work", odd)).collect("both", "a")
    item.to(("slow", late)).collect("both", "b").end_for_each().end()
    assert await flow.async_start([1, 2]) == [{"a": 20, "b": "late"}]


@pytest.mark.parametrize("how", ["side branch", "fork", "batch aside", "nested"])
async def test_a_failure_that_has_no_place_in_a_block_is_not_collected(how: str) -> None:
    """Nobody would see it there: it goes to the routes, and fails the execution without one."""
    for routed in (True, False):
        flow, seen = TriggerFlow(name="aside"), list[Any]()
        item: Any = flow.for_each(on_error="collect")
        match how:
            case "side branch":
                item = item.side_branch(charge)
            case "fork":
                item.to(charge).to(("then", echo))
            case "batch aside":
                item = item.batch(charge, ("other", echo), side_branch=True)
            case _:
                item.if_condition(truly).to(charge).end_condition().to(("then", echo))
        item.to(("work", late)).end_for_each().end()
        if routed:
            flow.on_error(("route", lambda data, seen=seen: seen.append(data.value["value"])))
            assert await flow.async_start([1]) == ["late"]
            assert seen == [1]
        else:
            with pytest.raises(Declined):
                await flow.async_start([1])


async def test_a_fork_of_several_cases_fails_in_its_own() -> None:
    """The way to the end is that of the case that runs."""
    flow = TriggerFlow(name="cases", skip_exceptions=True)
    at = flow.for_each().match(mode="hit_all").case(lambda data: data.value < 9).to(("work", odd))
    at = at.case(truly).to(("other", echo)).end_match().end_for_each()
    at.end()
    assert await flow.async_start([1, 2, 11]) == [[20, 2], [11]]


# -- and-joins ---------------------------------------------------------------------------------------------------------


async def test_a_failed_branch_does_not_fill_its_side_of_a_when() -> None:
    flow, joined = TriggerFlow(name="join"), list[Any]()
    fine = flow.chunk("fine")(echo)
    bad = flow.chunk("bad")(charge)
    other = flow.chunk("other")(late)
    flow.batch(fine, bad, other)
    flow.when({"chunk": [fine, bad]}).to(("first", lambda data: joined.append("with bad")))
    flow.when({"chunk": [fine, other]}).to(("second", lambda data: joined.append("without")))
    flow.on_error(("route", echo))
    await flow.async_start(1)
    assert joined == ["without"]


async def test_a_failed_branch_does_not_fill_its_side_of_a_collection() -> None:
    flow, joined = TriggerFlow(name="join", skip_exceptions=True), list[Any]()
    flow.to(charge).collect("one", "a")
    flow.to(("fine", echo)).collect("one", "b").to(("never", lambda data: joined.append("one")))
    flow.to(("fine2", echo)).collect("two", "a").to(("joined", lambda data: joined.append(data.value)))
    await flow.async_start(1)
    assert joined == [{"a": 1}]


async def test_a_when_of_items_joins_the_items_that_have_both_sides() -> None:
    flow, joined = TriggerFlow(name="join", skip_exceptions=True), list[Any]()
    work, other = flow.chunk("work")(odd), flow.chunk("other")(echo)
    flow.for_each().batch(work, other).end_for_each()
    flow.when({"chunk": [work, other]}).to(("joined", lambda data: joined.append(data.value["event"]["other"])))
    await flow.async_start([1, 2, 3, 4])
    assert sorted(joined) == [2, 4]


# -- sub-flows ---------------------------------------------------------------------------------------------------------


def child(chunk: Any = charge) -> TriggerFlow:
    flow = TriggerFlow(name="payment")
    flow.to(chunk).end()
    return flow


@pytest.mark.parametrize("place", ["chain", "batch", "if", "for_each"])
@pytest.mark.parametrize("taker", ["nothing", "route", "own route", "skip", "collect", "fallback"])
async def test_a_failed_sub_flow_is_a_failed_step(place: str, taker: str) -> None:
    flow, shipped = TriggerFlow(name="shop", skip_exceptions=taker == "skip"), list[Any]()
    how: Any = "collect" if taker == "collect" else "raise"
    at: Any = flow
    options: dict[str, Any] = {"fallback": "on account"} if taker == "fallback" else {}
    match place:
        case "batch":
            at = at.match(mode="hit_all", on_error=how).case(truly).to_sub_flow(child(), **options)
            at = at.case(truly).to(("other", echo)).end_match()
        case "if":
            at = at.if_condition(truly, on_error=how).to_sub_flow(child(), **options).end_condition()
        case "for_each":
            at = at.to(("list", lambda data: [data.value])).for_each(on_error=how)
            at = at.to_sub_flow(child(), **options).end_for_each()
        case _:
            at = at.to_sub_flow(child(), **options)
    at.to(("ship", lambda data: shipped.append(data.value)))
    undone: list[Any] = []
    if taker in ("route", "own route"):
        which = "*" if taker == "route" else "payment"
        flow.when({"error": which}).to(("undo", lambda data: undone.append((data.value["chunk"], data.value["value"]))))
    failure = Failure("payment", "Declined", "card of order", "order")
    if taker == "nothing" or (taker, place) == ("collect", "chain"):
        with pytest.raises(Declined):
            await flow.async_start("order")
        assert shipped == []
        return
    await flow.async_start("order")
    assert undone == ([("payment", "order")] if taker in ("route", "own route") else [])
    there: Any = "on account" if taker == "fallback" else failure
    if taker in ("fallback", "collect"):
        assert shipped == [{"batch": [there, "order"], "for_each": [there]}.get(place, there)]
    else:
        assert shipped == ([[]] if place == "for_each" else [])


async def test_the_fallback_of_a_sub_flow_stands_for_its_result() -> None:
    """It is checked by the contract of the child, and written back like its result."""
    priced = child()
    priced.set_contract(result=int)
    flow = TriggerFlow(name="shop")
    back: Any = {"value": {"price": "result"}, "runtime_data": {"last": "result"}}
    flow.to_sub_flow(priced, write_back=back, fallback=lambda data: len(data.failure.type)).end()
    execution = flow.create_execution()
    assert await execution.async_start({"article": 1}) == {"article": 1, "price": 8}
    assert execution.state.get("last") == 8
    wrong = TriggerFlow(name="wrong")
    wrong.to_sub_flow(priced, fallback="much").end()
    with pytest.raises(ContractError):
        await wrong.async_start(1)


@pytest.mark.parametrize("inside", ["route", "skip"])
@pytest.mark.parametrize("around", ["chain", "batch", "for_each", "collect", "fallback", "twice"])
async def test_a_sub_flow_that_took_its_failure_has_no_value_for_its_parent(around: str, inside: str) -> None:
    """Its result would be None, which no chunk returned. The parent's routes are not asked: it is taken already."""
    inner = TriggerFlow(name="payment", skip_exceptions=inside == "skip")
    inner.if_condition(truly).to(charge).end_condition().end()
    if inside == "route":
        inner.on_error(("note", echo))
    if around == "twice":
        middle = TriggerFlow(name="middle")
        middle.to_sub_flow(inner).end()
        inner = middle
    flow, shipped = TriggerFlow(name="shop"), list[Any]()
    at: Any = flow
    match around:
        case "batch":
            at = at.match(mode="hit_all").case(truly).to_sub_flow(inner).case(truly).to(("fine", echo)).end_match()
        case "for_each" | "collect":
            how: Any = "collect" if around == "collect" else "raise"
            at = at.to(("two", lambda data: [1, 2])).for_each(on_error=how)
            at = at.if_condition(lambda data: data.value == 1).to_sub_flow(inner).end_condition().end_for_each()
        case "fallback":
            at = at.to_sub_flow(inner, fallback=lambda data: data.failure.type)
        case _:
            at = at.to_sub_flow(inner)
    at.to(("ship", lambda data: shipped.append(data.value)))
    flow.on_error(("route", lambda data: shipped.append("route")))
    await flow.async_start("order")
    text = "flow 'payment' ended without a result: an error route or skip_exceptions took a failure in it"
    assert shipped == {
        "for_each": [[2]],
        "collect": [[Failure("payment", "NoResult", text, 1), 2]],
        "fallback": ["NoResult"],
    }.get(around, [])


@pytest.mark.parametrize("ends", ["has no end", "came to its end"])
async def test_a_sub_flow_whose_failure_costs_no_result_is_complete(ends: str) -> None:
    inner = TriggerFlow(name="payment", skip_exceptions=True)
    inner.to(charge)
    if ends == "came to its end":
        inner.to(("fine", echo)).end()
    flow = TriggerFlow(name="shop")
    flow.to_sub_flow(inner).to(("after", lambda data: [data.value])).end()
    assert await flow.async_start("order") == [None if ends == "has no end" else "order"]


# -- fallback ----------------------------------------------------------------------------------------------------------


def falling_back(fallback: Any, chunk: Any = charge, **options: Any) -> TriggerFlow:
    flow = TriggerFlow(name="account")
    flow.to(flow.chunk("charge", fallback=fallback, **options)(chunk)).to(("after", echo)).end()
    return flow


async def async_fallback(data: Data) -> Any:
    await asyncio.sleep(1)
    assert data.failure is not None
    return [data.failure, data.value, data.chunk_name]


def sync_fallback(data: Data) -> Any:
    return [data.failure, data.value, data.chunk_name]


@pytest.mark.parametrize("fallback", [sync_fallback, async_fallback])
async def test_a_callable_gets_the_data_of_the_chunk_and_the_failure(fallback: Any) -> None:
    assert await falling_back(fallback).async_start("me") == [failed("me"), "me", "charge"]


@pytest.mark.parametrize("value", [None, False, 0, [], "text"])
async def test_a_fallback_can_be_any_value(value: Any) -> None:
    assert await falling_back(value).async_start("me") == value


async def test_a_chunk_has_no_failure_outside_of_a_fallback() -> None:
    flow = TriggerFlow(name="fine")
    flow.to(flow.chunk("fine", fallback="no")(lambda data: [data.failure])).end()
    assert await flow.async_start() == [None]


def raises(data: Data) -> Any:
    raise Declined(f"card of {data.value}")


async def times_out(data: Data) -> Any:
    await asyncio.sleep(100)


@pytest.mark.parametrize("how", ["sync", "inline", "async", "timeout", "sub call cancelled"])
async def test_every_way_to_fail_has_the_fallback(how: str) -> None:
    async def cancelled(data: Data) -> Any:
        raise asyncio.CancelledError

    chunk = {"sync": raises, "inline": raises, "async": charge, "timeout": times_out}.get(how, cancelled)
    options: dict[str, Any] = {"inline": {"inline": True}, "timeout": {"timeout": 2}}.get(how, {})
    flow = falling_back(lambda data: data.failure.type, chunk, **options)
    kind = {"timeout": "TimeoutError", "sub call cancelled": "ChunkCancelled"}.get(how, "Declined")
    assert await flow.async_start("me") == kind


async def test_a_fallback_comes_after_the_last_retry_and_is_not_retried() -> None:
    tries: list[int] = []

    async def work(data: Data) -> Any:
        tries.append(data.attempt)
        raise Declined("again")

    async def instead(data: Data) -> Any:
        tries.append(-data.attempt)
        raise ValueError("the fallback too")

    flow = falling_back(instead, work, retry=Retry(3, initial_interval=1, jitter=0))
    with pytest.raises(ValueError, match="the fallback too") as caught:
        await flow.async_start()
    assert tries == [1, 2, 3, -3]
    assert isinstance(caught.value.__context__, Declined)


@pytest.mark.parametrize("sync", [True, False])
async def test_a_fallback_that_raises_is_the_failure_of_the_chunk(sync: bool) -> None:
    async def instead(data: Data) -> Any:
        raise ValueError("the fallback too")

    def sync_instead(data: Data) -> Any:
        raise ValueError("the fallback too")

    flow = falling_back(sync_instead if sync else instead)
    flow.on_error(("route", echo)).end()
    told = {"chunk": "charge", "type": "ValueError", "message": "the fallback too", "value": "me"}
    assert await flow.async_start("me") == told
    plain = falling_back(sync_instead if sync else instead)
    with pytest.raises(ValueError, match="the fallback too") as caught:
        await plain.async_start("me")
    assert isinstance(caught.value.__context__, Declined)


async def test_the_record_of_a_fallback_has_the_error() -> None:
    flow = falling_back("on account")
    execution = flow.create_execution()
    await execution.async_start("me")
    ends = [record for record in execution.records if isinstance(record, Completed)]
    assert [(it.value, it.failure and (it.failure.type, it.failure.message)) for it in ends] == [
        ("on account", ("Declined", "card of me")),
        ("on account", None),
    ]


async def test_a_fallback_can_emit_what_its_chunk_has_emitted() -> None:
    heard: list[Any] = []

    async def work(data: Data) -> Any:
        await data.async_emit("note", "work")
        raise Declined

    async def instead(data: Data) -> Any:
        await data.async_emit("note", "instead", settle=True)
        return "value"

    flow = falling_back(instead, work)
    flow.when("note").to(("hear", lambda data: heard.append(data.value)))
    assert await flow.async_start() == "value"
    assert sorted(heard) == ["instead", "work"]


async def test_a_fallback_can_ask_a_person() -> None:
    def ask(data: Data) -> Any:
        return data.pause_for(interrupt_id="account", payload=data.failure and data.failure.message)

    flow = falling_back(ask)
    execution = flow.create_execution()
    execution.begin("me")
    await turns(30)
    await asyncio.sleep(1)
    assert execution.get_interrupt("account")["payload"] == "card of me"
    await execution.async_continue_with("account", "on the house")
    assert await execution.async_get_result() == "on the house"


@pytest.mark.parametrize("retry", [None, Retry(3)])
async def test_an_interrupt_that_nobody_answers_has_the_fallback(retry: Retry | None) -> None:
    asked: list[int] = []

    async def ask(data: Data) -> Any:
        asked.append(1)
        return data.pause_for(interrupt_id="q", expires=60)

    flow = falling_back(lambda data: [data.failure.type, data.value], ask, retry=retry)
    execution = flow.create_execution()
    execution.begin("me")
    assert await execution.async_get_result() == ["InterruptExpired", "me"]
    assert asked == [1]
    assert now() == 60
    plain = TriggerFlow(name="plain")
    plain.to(("ask", ask)).end()
    execution = plain.create_execution()
    execution.begin("me")
    with pytest.raises(InterruptExpired):
        await execution.async_get_result()


async def test_a_cancelled_execution_runs_no_fallback() -> None:
    ran: list[int] = []
    flow = falling_back(lambda data: ran.append(1), times_out)
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(1)
    await execution.async_cancel()
    assert ran == []


async def test_a_fallback_is_cancelled_with_its_execution() -> None:
    flow = falling_back(times_out)
    execution = flow.create_execution()
    execution.begin("me")
    await asyncio.sleep(1)
    await execution.async_cancel()
    assert execution.get_status() == "cancelled"
    assert now() == 1


async def test_a_batch_of_chunks_with_fallbacks_and_a_limit() -> None:
    flow = TriggerFlow(name="limits")
    chunk = flow.chunk("charge", fallback=async_fallback, concurrency=1)(charge)
    flow.for_each().to(chunk).to(("message", lambda data: data.value[0].message)).end_for_each().end()
    assert await flow.async_start([1, 2, 3]) == ["card of 1", "card of 2", "card of 3"]
    assert now() == 3, "the fallback runs with the permit of its chunk"


# -- routes nest -------------------------------------------------------------------------------------------------------


async def ship(data: Data) -> Any:
    raise ConnectionError("carrier down")


#: How the work of a route goes on to the chunk that fails in it.
WAYS = ["chain", "emit", "settle", "delayed", "state", "answer", "answer as event", "sub-flow", "retry", "batch"]


def escalating(way: str) -> tuple[TriggerFlow, list[str]]:
    """`ask` fails; its route escalates and ships; `ship` fails then, and `undo` is the general route."""
    flow, ran = TriggerFlow(name="escalation"), list[str]()
    shipping = flow.chunk("ship", retry=Retry(2, initial_interval=1) if way == "retry" else None)(ship)

    async def escalate(data: Data) -> Any:
        ran.append("escalate")
        match way:
            case "emit" | "settle":
                await data.async_emit("approved", settle=way == "settle")
            case "delayed":
                await data.async_emit("approved", delay=86400)
            case "state":
                data.state.set("approved", True)
            case "answer":
                data.pause_for(interrupt_id="director")
            case "answer as event":
                data.pause_for(interrupt_id="director", resume_event="approved")
            case _:
                pass
        return "yes"

    async def undo(data: Data) -> Any:
        ran.append(f"undo {data.value['chunk']}")
        return "undone"

    flow.to(("ask", charge)).to(("never", echo)).end()
    route = flow.when({"error": "ask"}).to(("escalate", escalate))
    match way:
        case "emit" | "settle" | "delayed" | "answer as event":
            flow.when("approved").to(shipping)
        case "state":
            flow.when({"runtime_data": "approved"}).to(shipping)
        case "sub-flow":
            route.to_sub_flow(child(ship), name="ship")
        case "batch":
            route.batch(shipping, ("other", echo)).to(("joined", lambda data: ran.append("joined")))
        case _:
            route.to(shipping)
    flow.on_error(("undo", undo)).end()
    return flow, ran


async def answered(execution: Any) -> Any:
    await turns(30)
    await asyncio.sleep(1)
    if execution.get_pending_interrupts():
        await execution.async_continue_with("director", "yes")
    return await execution.async_get_result(timeout=100_000)


@pytest.mark.parametrize("way", WAYS)
async def test_a_failure_in_the_work_of_a_route_has_the_other_routes(way: str) -> None:
    flow, ran = escalating(way)
    execution = flow.create_execution()
    execution.begin("order")
    assert await answered(execution) == "undone"
    assert ran == ["escalate", "undo ship"]


@pytest.mark.parametrize("way", ["delayed", "answer", "answer as event"])
async def test_so_it_does_after_a_save_and_a_load(way: str) -> None:
    flow, ran = escalating(way)
    execution = flow.create_execution()
    execution.begin("order")
    await turns(30)
    await asyncio.sleep(1)
    saved = execution.save()
    await execution.async_cancel()
    again = flow.load_execution(saved)
    assert await answered(again) == "undone"
    assert ran == ["escalate", "undo ship"]


@pytest.mark.parametrize("way", WAYS)
async def test_the_work_of_the_last_route_fails_the_execution(way: str) -> None:
    flow, ran = TriggerFlow(name="last"), list[str]()

    async def undo(data: Data) -> Any:
        ran.append(data.chunk_name)
        if way == "emit":
            await data.async_emit("next")
        elif way == "state":
            data.state.set("next", 1)
        else:
            raise Declined("undo")

    flow.to(charge)
    if way == "emit":
        flow.when("next").to(("later", ship))
    elif way == "state":
        flow.when({"runtime_data": "next"}).to(("later", ship))
    flow.on_error(("undo", undo))
    with pytest.raises((Declined, ConnectionError)):
        await flow.async_start("order")
    assert ran == ["undo"]


async def test_a_failure_passes_through_each_route_once() -> None:
    """Any depth, and an end."""
    flow, ran = TriggerFlow(name="deep"), list[str]()

    async def fails(data: Data) -> None:
        ran.append(data.chunk_name)
        if len(ran) > 1000:
            raise AssertionError("an endless loop")
        await data.async_emit("work")
        raise Declined(data.chunk_name)

    flow.to(("work", fails))
    flow.when({"event": "work"}).to(("again", charge))
    for number in range(4):
        flow.when({"error": "*"}).to((f"route{number}", fails))
    with pytest.raises(Declined):
        await flow.async_start("order")


async def test_a_route_with_nothing_behind_it_takes_no_failure() -> None:
    flow = TriggerFlow(name="empty route")
    flow.to(charge)
    flow.when({"error": charge})
    flow.when({"error": "*"})
    with pytest.raises(Declined):
        await flow.async_start("order")


async def test_a_route_at_work_takes_failures_that_it_has_not_caused() -> None:
    flow, seen = TriggerFlow(name="two"), list[Any]()

    async def slow_route(data: Data) -> None:
        await asyncio.sleep(10)
        seen.append(data.value["value"])

    flow.for_each().to(("work", slow_odd)).end_for_each()
    flow.on_error(slow_route)
    await flow.async_start([1, 3, 5])
    assert sorted(seen) == [1, 3, 5]


async def test_a_routes_failure_inside_a_collecting_block_is_collected() -> None:
    flow = TriggerFlow(name="collecting route")
    flow.to(charge)
    flow.on_error(("route", echo)).batch(("again", ship), ("fine", late), on_error="collect").end()
    result = await flow.async_start("order")
    assert result["again"].type == "ConnectionError"
    assert result["fine"] == "late"


# -- definitions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["colect", "skip", None, True, "fallback"])
def test_another_on_error_is_an_error_of_the_definition(value: Any) -> None:
    flow = TriggerFlow(name="typo")
    calls: list[Any] = [
        lambda: flow.batch(echo, on_error=value),
        lambda: flow.for_each(on_error=value),
        lambda: flow.match(on_error=value),
        lambda: flow.if_condition(truly, on_error=value),
    ]
    for call in calls:
        with pytest.raises(DefinitionError, match="use 'raise'"):
            call()
    with pytest.raises(DefinitionError, match="did you mean 'collect'"):
        flow.match(on_error="colect")  # type: ignore[arg-type]


def test_a_fallback_has_to_fit() -> None:
    flow = TriggerFlow(name="wrong")
    with pytest.raises(DefinitionError, match="fallback"):
        flow.chunk("work", fallback=lambda: 1)(echo)
    with pytest.raises(DefinitionError, match="fallback"):
        flow.to_sub_flow(child(), fallback=lambda one, two: 1)
    chunk = flow.chunk("twice", fallback=1)(echo)
    assert flow.chunk("twice", fallback=1)(echo) is chunk
    with pytest.raises(DefinitionError, match="fallback=2"):
        flow.chunk("twice", fallback=2)(echo)


async def test_a_saved_flow_collects_and_falls_back() -> None:
    flow = falling_back("on account")
    item = flow.for_each(on_error="collect").to_sub_flow(child(), name="pay", fallback=lambda data: "later")
    item.to(("work", odd)).end_for_each()
    text = flow.get_json_flow()
    other = falling_back("on account")
    other.to_sub_flow(child(), name="pay", fallback=lambda data: "later").to(("work", odd))
    other.load_json_flow(text)
    assert other.definition == flow.definition
    assert "collect" in text
    plain = TriggerFlow(name="account")
    plain.to(("charge", charge)).to(("after", echo)).to_sub_flow(child(), name="pay").to(("work", odd))
    with pytest.raises(DefinitionError, match="fallback cannot be loaded"):
        plain.load_json_flow(text)


async def test_failures_of_a_saved_execution_come_back() -> None:
    """Collected failures, a missing branch and the failed ways of a branch are part of the saved state."""
    flow = TriggerFlow(name="saved", skip_exceptions=True)
    at = flow.for_each(on_error="collect").to(("work", odd)).to(("wait", late)).end_for_each()
    at.batch(("bad", charge), ("fine", late)).to(("never", echo)).end()
    flow.when("go").batch(("bad2", charge), ("fine2", late), on_error="collect").end()
    execution = flow.create_execution()
    execution.begin([1, 2])
    await turns(50)
    await asyncio.sleep(2)
    saved = execution.save()
    await execution.async_cancel()
    again = flow.load_execution(saved)
    assert await again.async_get_result() is None
    assert [error.chunk for error in again.skipped] == ["bad"]


@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_a_failure_is_logged_once_and_only_where_it_is_skipped(
    on_error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "triggerflow")
    flow, _ = shop(batch, on_error, skip_exceptions=True)
    await flow.async_start("order")
    lines = [record.getMessage() for record in caplog.records if "Declined" in record.getMessage()]
    assert len(lines) == (1 if on_error == "raise" else 0)
