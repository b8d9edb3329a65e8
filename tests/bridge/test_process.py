"""The operators of a process."""

import asyncio
from typing import Any

import pytest
from agently import TriggerFlow

from tests.bridge.support import after, boom, double, ident, inc, noting

Flow = TriggerFlow[Any, Any, Any]


# -- to and side_branch ----------------------------------------------------------------------------------------------


async def test_to_takes_chunks_functions_names_pairs_and_flows() -> None:
    flow, sub = Flow(), Flow(name="sub")
    sub.to(double).end()
    chunk = flow.chunk("inc")(inc)
    flow.chunk("third")(double)
    flow.to(chunk).to(double).to("third").to(("named", double)).to(inc, name="again").to(sub).end()
    assert await flow.async_start(1) == 34


async def test_an_unknown_name_is_not_implemented() -> None:
    with pytest.raises(NotImplementedError, match="nope"):
        Flow().to("nope")


async def test_one_chunk_in_several_places_is_one_node() -> None:
    """Its completion is one signal: every attachment's continuation follows each of its runs."""
    flow, seen = Flow(), list[Any]()
    chunk = flow.chunk("c")(ident)
    flow.to(chunk).to(noting(seen, lambda data: ("first", data.value)))
    flow.when("Ev").to(chunk).to(noting(seen, lambda data: ("second", data.value)))
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    await execution.async_emit("Ev", 2)
    assert seen == [("first", 1), ("second", 1), ("first", 2), ("second", 2)]


async def test_a_side_branch_leaves_the_value_and_is_waited_for() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc).side_branch(after(5, "slow"), name="slow").to(ident, side_branch=True).to(double).end()
    flow.when("slow").to(noting(seen))
    assert (await flow.async_start(1), seen) == (4, ["slow"])


# -- when ------------------------------------------------------------------------------------------------------------


async def test_when_takes_names_chunks_dicts_and_lists() -> None:
    flow, seen = Flow(), list[Any]()

    @flow.chunk("cc")
    async def cc(data: Any) -> int:
        data.state.set("k", 2)
        await data.async_emit("Ev", 3)
        return 1

    flow.to(cc)
    flow.when("cc").to(noting(seen, lambda data: ("name", data.value)))
    flow.when(cc).to(noting(seen, lambda data: ("chunk", data.value)))
    flow.when({"event": cc}).to(noting(seen, lambda data: ("dict", data.value)))
    flow.when({"runtime_data": "k"}, mode="and").to(noting(seen, lambda data: ("data", data.value)))
    flow.when(["cc", "Ev"]).to(noting(seen, lambda data: ("list", data.value)))
    flow.when(cc.trigger).to(noting(seen, lambda data: ("trigger", data.value)))
    await flow.async_start(0)
    both = {"event": {cc.trigger: 1, "Ev": 3}}
    assert sorted(seen, key=str) == sorted(
        [("data", 2), ("name", 1), ("chunk", 1), ("dict", 1), ("list", both), ("trigger", 1)], key=str
    )


async def test_when_and_waits_for_one_of_each_and_then_for_all_anew() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when({"event": ["a", "b"], "runtime_data": "k"}).to(noting(seen))
    execution = flow.create_execution()
    await execution.async_emit("a", 1)
    await execution.async_emit("a", 2)
    await execution.async_set_runtime_data("k", 3)
    assert seen == []
    await execution.async_emit("b", 4)
    assert seen == [{"event": {"a": 2, "b": 4}, "runtime_data": {"k": 3}}]
    await execution.async_emit("b", 5)
    assert len(seen) == 1


async def test_when_or_and_simple_or_fire_for_every_signal() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when({"event": ["a", "b"]}, mode="or").to(noting(seen))
    flow.when({"event": ["a", "b"]}, mode="simple_or").to(noting(seen))
    execution = flow.create_execution()
    await execution.async_emit("a", 1)
    await execution.async_emit("b", 2)
    assert seen == [("event", "a", 1), 1, ("event", "b", 2), 2]


async def test_when_leaves_the_enclosing_block() -> None:
    flow = Flow()
    flow.for_each().to(inc).when("Ev").to(double).end()
    execution = flow.create_execution()
    await execution.async_emit("Ev", 4)
    assert execution.get_result() == 8


# -- batch -----------------------------------------------------------------------------------------------------------


async def test_batch_gives_a_dict_by_name_in_order_of_declaration() -> None:
    flow = Flow()
    chunk = flow.chunk("late")(after(5, "l"))
    flow.batch(chunk, ("pair", inc), double).end()
    result = await flow.async_start(3)
    assert list(result.items()) == [("late", "l"), ("pair", 4), ("double", 6)]


async def test_the_same_chunk_or_function_twice_is_one_key() -> None:
    flow = Flow()
    chunk = flow.chunk("c")(inc)
    flow.batch(double, double).to(ident).end()
    assert await flow.async_start(2) == {"double": 4}
    other = Flow()
    other.batch(chunk, chunk).end()
    assert await other.async_start(2) == {"c": 3}


async def test_a_failing_branch_fails_the_run_and_cancels_its_siblings() -> None:
    flow, seen = Flow(), list[Any]()

    async def slow(data: Any) -> None:
        await asyncio.sleep(60)
        seen.append("finished")

    flow.batch(boom, slow).end()
    with pytest.raises(RuntimeError, match="boom"):
        await flow.async_start(1)
    await asyncio.sleep(100)
    assert seen == []


async def test_batch_as_a_side_branch_and_with_a_limit() -> None:
    flow, now, peak = Flow(), 0, 0

    def make(number: int) -> Any:
        async def work(data: Any) -> None:
            nonlocal now, peak
            now += 1
            peak = max(peak, now)
            await asyncio.sleep(1)
            now -= 1

        return (f"w{number}", work)

    flow.batch(*map(make, range(6)), side_branch=True, concurrency=3).to(inc).end()
    assert (await flow.async_start(1), peak) == (2, 3)


# -- for_each --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [([1, 2, 3], [2, 4, 6]), ((1, 2), [2, 4]), ([], []), (range(3), [0, 2, 4]), ("ab", ["abab"]), (5, [10])],
)
async def test_for_each_splits_sequences_and_takes_the_rest_as_one_item(value: Any, expected: Any) -> None:
    flow = Flow()
    flow.for_each().to(double).end_for_each().end()
    assert await flow.async_start(value) == expected


async def test_for_each_keeps_the_order_nests_and_holds_other_blocks() -> None:
    flow = Flow()

    async def slow_first(data: Any) -> Any:
        await asyncio.sleep(10 - data.value)
        return data.value

    flow.for_each().for_each(concurrency=2).to(slow_first).if_condition(lambda data: data.value > 2).to(
        double
    ).else_condition().to(ident).end_condition().batch(inc, double).end_for_each().end_for_each().end()
    result = await flow.async_start([[1, 3], [], [2]])
    assert result == [[{"inc": 2, "double": 2}, {"inc": 7, "double": 12}], [], [{"inc": 3, "double": 4}]]


async def test_one_failing_item_fails_the_run() -> None:
    flow = Flow()
    flow.for_each().to(lambda data: 1 // data.value).end_for_each().end()
    with pytest.raises(ZeroDivisionError):
        await flow.async_start([1, 0])


# -- match -----------------------------------------------------------------------------------------------------------


async def test_match_takes_values_and_callables() -> None:
    flow = Flow()
    process = flow.match().case(1).to(lambda data: "one").case(lambda data: data.value > 5).to(lambda data: "big")
    process.case_else().to(lambda data: "else").end_match().end()
    assert [await flow.async_start(it) for it in (1, 9, 3)] == ["one", "big", "else"]


async def test_hit_first_and_hit_all() -> None:
    for mode, expected in (
        ("hit_first", 6),
        ("hit_all", [6, 10]),
    ):
        flow = Flow()
        flow.match(mode=mode).case(5).to(inc).case(lambda data: True).to(double).end_match().end()
        assert await flow.async_start(5) == expected
    flow = Flow()
    flow.match(mode="hit_all").case(5).to(inc).case(6).to(double).end_match().end()
    assert (await flow.async_start(5), await flow.async_start(7)) == ([6], 7)


async def test_without_a_match_and_an_else_the_input_passes_through() -> None:
    flow = Flow()
    flow.match().case(1).to(boom).end_match().to(inc).end()
    assert await flow.async_start(4) == 5


async def test_if_elif_else() -> None:
    flow = Flow()
    branch = flow.if_condition(lambda data: data.value < 0).to(lambda data: "minus")
    branch.elif_condition(0).to(lambda data: "zero").else_condition().to(lambda data: "plus").end_condition().end()
    assert [await flow.async_start(it) for it in (-1, 0, 1)] == ["minus", "zero", "plus"]


@pytest.mark.parametrize("call", ["case", "case_else", "end_match", "elif_condition", "else_condition", "end_condition",
                                  "end_for_each"])  # fmt: skip
def test_a_block_that_is_not_open_is_not_implemented(call: str) -> None:
    method = getattr(Flow().to(ident), call)
    with pytest.raises(NotImplementedError):
        method(1) if call in ("case", "elif_condition") else method()


async def test_a_block_may_be_left_open() -> None:
    flow, seen = Flow(), list[Any]()
    flow.if_condition(lambda data: data.value > 1).to(noting(seen)).else_condition().to(inc).end()
    assert (await flow.async_start(2), await flow.async_start(0), seen) == (None, 1, [2])
    items = Flow()
    process = items.for_each().to(noting(seen))
    assert (await items.async_start([3, 4]), seen) == (None, [2, 3, 4])
    process.to(double).end_for_each().end()
    assert (await items.async_start([5]), seen) == ([10], [2, 3, 4, 5])
    nested = Flow()
    nested.for_each(concurrency=1).match().case(1).to(noting(seen)).for_each().to(inc)
    await nested.async_start([1, 1, 2])
    assert seen == [2, 3, 4, 5, 1, 1]


# -- collect ---------------------------------------------------------------------------------------------------------


async def test_collect_joins_the_branches_of_a_chain() -> None:
    flow, seen = Flow(), list[Any]()
    process = flow.to(ident)
    process.collect("col", "a")
    process.to(inc).collect("col", "b").to(noting(seen, lambda data: (data.trigger_event, data.value))).end()
    assert await flow.async_start(1) == {"a": 1, "b": 2}
    assert seen == [("Collect-col", {"a": 1, "b": 2})]


async def test_a_collection_updates_or_empties() -> None:
    for mode, expected in (
        ("filled_and_update", [{"a": 1, "b": 2}, {"a": 3, "b": 2}]),
        ("filled_then_empty", [{"a": 1, "b": 2}]),
    ):
        flow, seen = Flow(), list[Any]()
        flow.when("A").collect("col", "a", mode=mode)
        flow.when("B").collect("col", "b", mode=mode)
        flow.when({"collect": "col"}).to(noting(seen))
        execution = flow.create_execution()
        for name, value in (("A", 1), ("B", 2), ("A", 3)):
            await execution.async_emit(name, value)
        assert seen == expected


# -- sub flows -------------------------------------------------------------------------------------------------------


async def test_a_sub_flow_gets_what_is_captured_and_writes_back() -> None:
    sub = Flow(name="sub")

    async def work(data: Any) -> Any:
        await data.async_put_into_stream({"child": data.value})
        words = (data.state.get("lang"), data.flow_state.get("all"), data.require_resource("res"))
        return {"text": f"{data.value} {words}"}

    sub.to(work).end()
    flow, fired = Flow(), list[Any]()
    flow.set_flow_data("shared.all", "A")

    async def prepare(data: Any) -> Any:
        data.state.set("settings.lang", "de", emit=False)
        return {"topic": "T"}

    flow.to(prepare).to_sub_flow(
        sub,
        capture={"input": "value.topic", "runtime_data": {"lang": "runtime_data.settings.lang"},
                 "flow_data": {"all": "flow_data.shared.all"}, "resources": {"res": "resources.r"}},
        write_back={"value": "result.text", "runtime_data": {"answer.text": "result.text"}},
    ).end()  # fmt: skip
    flow.when({"runtime_data": "answer"}).to(noting(fired))
    execution = flow.create_execution(runtime_resources={"r": "R"})
    items = [item async for item in execution.get_async_runtime_stream(1)]
    text = "T ('de', 'A', 'R')"
    assert (await execution.async_get_result(), items) == (text, [{"child": "T"}])
    assert (execution.get_runtime_data("answer.text"), fired) == (text, [])


async def test_a_sub_flow_is_isolated_and_its_stop_is_its_own() -> None:
    sub, flow = Flow(), Flow()

    async def work(data: Any) -> Any:
        data.state.set("k", "child")
        data.flow_state.set("f", "child")
        await data.async_put_into_stream("child")
        await data.async_stop_stream()
        return data.state.get("mine", "nothing")

    async def close(data: Any) -> Any:
        await data.async_put_into_stream("parent")
        return data.value

    sub.to(work).end()
    flow.to(lambda data: data.state.set("mine", 1)).to(sub).to(close).end()
    execution = flow.create_execution()
    assert [item async for item in execution.get_async_runtime_stream(1)] == ["child", "parent"]
    assert execution.get_result() == "nothing"
    assert (execution.get_runtime_data(), flow.get_flow_data(), sub.get_flow_data()) == ({"mine": 1}, {}, {})


async def test_a_question_of_a_sub_flow_reaches_the_holder_of_its_parent() -> None:
    sub, flow = Flow(name="sub"), Flow()
    sub.to(lambda data: data.pause_for(interrupt_id="q", payload="?")).to(double).end()
    flow.to_sub_flow(sub).to(inc).end()
    execution = flow.create_execution()
    await execution.async_start(1, wait_for_result=False)
    assert execution.get_status() == "waiting"
    (number, question), *_ = execution.get_pending_interrupts().items()
    assert (number, question["payload"]) == (question["id"], "?")
    await execution.async_continue_with(number, 4)
    assert await execution.async_get_result() == 9
    with pytest.warns(UserWarning, match="longer than 10"):  # nobody can answer here
        assert await flow.async_start(1) is None


def test_capture_and_write_back_are_checked() -> None:
    for wrong in (
        {"capture": {"nowhere": "value"}}, {"capture": {"input": "sideways"}}, {"write_back": {"value": "value"}},
        {"capture": {"runtime_data": {"a": "value", "a.b": "value"}}}, {"capture": {"input": "value.0x"}},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="sub_flow"):
            Flow().to_sub_flow(Flow(), **wrong)  # type: ignore[arg-type]


async def test_a_missing_path_is_a_key_error() -> None:
    flow, sub = Flow(), Flow()
    sub.to(ident).end()
    flow.to_sub_flow(sub, capture={"input": "value.missing"}).end()
    with pytest.raises(KeyError, match="missing"):
        await flow.async_start({})


# -- the rest --------------------------------------------------------------------------------------------------------


async def test_a_separator_prints_if_asked_to(capsys: Any) -> None:
    flow = Flow()
    flow.to(inc).____("quiet").____("loud", print_info=True, show_value=True).end()
    assert (await flow.async_start(1), capsys.readouterr().out) == (2, "loud 2\n")


async def test_the_first_end_wins_and_set_result_beats_it() -> None:
    flow = Flow()
    flow.to(after(2, "late")).end()
    flow.to(after(1, "early")).end()
    assert await flow.async_start(0) == "early"

    async def override(data: Any) -> None:
        data.set_result("set")

    flow.when("Done").to(override)
    other = Flow()
    other.to(ident).end().to(override)
    assert await other.async_start(0) == "set"


async def test_a_chain_may_go_on_after_its_end() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc).end().to(noting(seen)).end()
    assert (await flow.async_start(1), seen) == (2, [2])


async def test_a_loop_over_a_signal() -> None:
    flow = Flow()

    @flow.chunk("step")
    async def step(data: Any) -> None:
        await data.async_emit("Loop" if data.value < 3000 else "Done", data.value + 1)

    flow.to(step)
    flow.when("Loop").to(step)
    flow.when("Done").to(ident).end()
    assert await flow.async_start(0) == 3001


async def test_a_gate_of_several_signals_has_a_signal_of_its_own() -> None:
    for mode in ("and", "or", "simple_or"):
        flow, seen = Flow(), list[Any]()
        flow.when({"event": ["A", "B"]}, mode=mode).to(noting(seen, lambda data: data.trigger_event))
        flow.when("A").to(noting(seen, lambda data: data.trigger_event))
        execution = flow.create_execution()
        await execution.async_emit("A", 1)
        await execution.async_emit("B", 2)
        assert seen.count("A") == 1
        names = {name for name in seen if name != "A"}
        assert len(names) == 1
        assert names.pop().startswith("When-")
