"""The operators row by row: what programs written for 4.0.9 rely on beside what `test_process` says."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

import pytest
from agently import TriggerFlow
from pydantic import BaseModel

from tests.bridge.support import double, ident, inc, noting

Flow = TriggerFlow[Any, Any, Any]


def given(build: Any, value: Any = None, **options: Any) -> Any:
    """What a flow that `build` has built gives."""
    flow = Flow()
    build(flow)
    return flow.start(value, **{"timeout": 1, **options})


def kind(data: Any) -> str:
    return type(data.value).__name__


# -- to --------------------------------------------------------------------------------------------------------------


def test_to_takes_side_branch_by_position() -> None:
    assert given(lambda flow: flow.to(inc, True).to(double).end(), 1) == 2
    assert given(lambda flow: flow.to(chunk=inc, side_branch=True, name="q").to(double).end(), 1) == 2


def test_to_by_name_takes_chunks_registered_after_the_chain_began() -> None:
    def build(flow: Flow) -> None:
        process = flow.to(inc)
        flow.chunk("late")(double)
        process.to("late").end()

    assert given(build, 1) == 4


def test_to_of_one_function_or_lambdas_again_is_one_more_step() -> None:
    def adding(number: int) -> Any:
        async def same(data: Any) -> Any:
            return data.value + number

        return same

    assert given(lambda flow: flow.to(inc).to(inc).to(inc).end(), 1) == 4
    assert given(lambda flow: flow.to(adding(1)).to(adding(10)).end(), 0) == 11
    assert given(lambda flow: flow.to(lambda it: it.value + 1).to(lambda it: it.value + 10).end(), 0) == 11


def test_to_of_one_pair_again_is_one_more_step() -> None:
    assert given(lambda flow: flow.to(("a", inc)).to(("a", inc)).end(), 0) == 2


def test_to_of_one_function_in_two_places_keeps_the_continuations_apart() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc).to(("a", noting(seen, lambda data: ("a", data.value))))
    flow.when("Ev").to(inc).to(("b", noting(seen, lambda data: ("b", data.value))))
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    execution.emit("Ev", 10)
    assert seen == [("a", 2), ("b", 11)]


def test_to_of_one_name_in_two_places_is_one_chunk() -> None:
    flow, seen = Flow(), list[Any]()
    flow.chunk("x")(inc)
    flow.to("x").to(("a", noting(seen, lambda data: ("a", data.value))))
    flow.when("Ev").to("x").to(("b", noting(seen, lambda data: ("b", data.value))))
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    execution.emit("Ev", 10)
    assert seen == [("a", 2), ("b", 2), ("a", 11), ("b", 11)]


def test_to_under_a_name_that_another_function_has_is_an_error() -> None:
    for build in (
        lambda flow: flow.to(("a", inc)).to(("a", double)),
        lambda flow: flow.to(inc, name="a").to(double, name="a"),
        lambda flow: flow.chunk("a")(inc) and flow.to(("a", double)),
    ):
        with pytest.raises(ValueError, match="already registered to another callable"):
            build(Flow())


def test_to_of_a_chunk_ignores_the_name() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(flow.chunk("x")(inc), name="y")
    flow.when("x").to(noting(seen))
    flow.start(1, wait_for_result=False)
    assert seen == [2]


def test_to_gives_names_that_when_knows() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(inc, name="y").to(("pair", double))
    flow.when("y").to(("n1", noting(seen, lambda data: ("y", data.value))))
    flow.when("pair").to(("n2", noting(seen, lambda data: ("pair", data.value))))
    flow.start(1, wait_for_result=False)
    assert sorted(seen) == [("pair", 4), ("y", 2)]


def test_none_is_a_value() -> None:
    assert given(lambda flow: flow.to(lambda data: None).to(lambda data: data.value is None).end(), 1) is True


# -- side_branch -----------------------------------------------------------------------------------------------------


def test_side_branch_takes_chunks_names_pairs_and_flows() -> None:
    seen, sub = list[Any](), Flow()
    sub.to(("in_sub", noting(seen))).end()

    def build(flow: Flow) -> None:
        chunk = flow.chunk("chunk")(noting(seen))
        flow.chunk("named")(noting(seen))
        flow.side_branch(chunk).side_branch("named").side_branch(("pair", noting(seen))).side_branch(sub).to(inc).end()

    assert (given(build, 1), seen) == (2, [1, 1, 1, 1])


# -- processes -------------------------------------------------------------------------------------------------------


def test_process_tells_what_its_steps_listen_to() -> None:
    flow = Flow()
    chunk = flow.chunk("c")(inc)
    process: Any = flow.to(chunk)
    assert (process.trigger_event, process.trigger_type) == (chunk.trigger, "event")
    assert process.end().trigger_event == process.side_branch(inc).trigger_event == chunk.trigger
    event: Any = flow.when("E")
    data: Any = flow.when({"runtime_data": "k"})
    assert (event.trigger_event, event.trigger_type) == ("E", "event")
    assert (data.trigger_event, data.trigger_type) == ("k", "runtime_data")
    assert process.collect("z").trigger_event == "Collect-z"
    for made, name in (
        (process.batch(inc, double), "Batch-"),
        (process.for_each(), "ForEach-"),
        (process.match().case(1), "Match-"),
        (flow.when({"event": ["a", "b"]}), "When-"),
    ):
        assert made.trigger_event.startswith(name)


def test_process_trigger_event_can_be_waited_for() -> None:
    flow, seen = Flow(), list[Any]()
    process: Any = flow.to(inc).for_each().to(double).end_for_each()
    flow.when(process.trigger_event).to(noting(seen))
    flow.start(1, wait_for_result=False)
    assert seen == [[4]]


# -- when ------------------------------------------------------------------------------------------------------------


def fired(trigger: Any, mode: Any = "and") -> list[Any]:
    """What a chunk after `when` gets of A = 1 and B = 2."""
    flow, seen = Flow(), list[Any]()
    flow.when(trigger, mode=mode).to(noting(seen))
    execution = flow.create_execution()
    execution.emit("A", 1)
    execution.emit("B", 2)
    return seen


@pytest.mark.parametrize("mode", ["and", "or", "simple_or"])
@pytest.mark.parametrize("trigger", ["A", {"event": "A"}, {"event": ["A"]}])
def test_when_of_one_signal_gives_its_value_in_every_mode(trigger: Any, mode: str) -> None:
    assert fired(trigger, mode) == [1]


@pytest.mark.parametrize("names", [["A", "B"], ("A", "B"), {"A", "B"}])
def test_when_takes_lists_tuples_and_sets_of_events(names: Any) -> None:
    assert fired({"event": names}) == [{"event": {"A": 1, "B": 2}}]


def test_when_or_of_several_kinds_tells_which() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when({"event": "A", "runtime_data": ["k"]}, mode="or").to(noting(seen))
    execution = flow.create_execution()
    execution.emit("A", 1)
    execution.set_runtime_data("k", 2)
    assert seen == [("event", "A", 1), ("runtime_data", "k", 2)]


def test_when_knows_a_name_only_if_it_is_registered_before() -> None:
    flow, seen = Flow(), list[Any]()
    flow.when("later").to(noting(seen))
    flow.chunk("later")(inc)
    flow.to("later")
    execution = flow.create_execution()
    execution.start(3, wait_for_result=False)
    execution.emit("later", 9)
    assert seen == [9]


def test_when_takes_strings_in_a_dict_for_events_only() -> None:
    flow, seen = Flow(), list[Any]()
    flow.to(flow.chunk("aa")(inc))
    flow.when({"event": "aa"}).to(noting(seen))
    execution = flow.create_execution()
    execution.start(1, wait_for_result=False)
    execution.emit("aa", 50)
    assert seen == [50]


def test_when_and_of_chunks_has_their_triggers_as_keys() -> None:
    flow, seen = Flow(), list[Any]()
    first, second = flow.chunk("aa")(inc), flow.chunk("bb")(double)
    flow.to(first)
    flow.to(second)
    flow.when({"event": [first, second]}).to(noting(seen))
    flow.start(3, wait_for_result=False)
    assert seen == [{"event": {first.trigger: 4, second.trigger: 6}}]


def test_when_and_joins_item_by_item() -> None:
    flow, seen = Flow(), list[Any]()
    first, second = flow.chunk("aa")(double), flow.chunk("bb")(inc)
    flow.for_each().to(first).to(second).end_for_each().end()
    flow.when({"event": [first, second]}).to(noting(seen, lambda data: sorted(data.value["event"].values())))
    assert (flow.start([1, 5]), sorted(seen)) == ([3, 11], [[2, 3], [10, 11]])


def test_when_hears_chunks_inside_a_block() -> None:
    flow, seen = Flow(), list[Any]()
    chunk = flow.chunk("c")(double)
    flow.for_each().to(chunk).end_for_each().end()
    flow.when(chunk).to(noting(seen))
    assert (flow.start([1, 2]), sorted(seen)) == ([2, 4], [2, 4])


# -- batch -----------------------------------------------------------------------------------------------------------


def test_batch_of_one_and_of_falsy_results() -> None:
    assert given(lambda flow: flow.batch(inc).end(), 1) == {"inc": 2}
    assert given(lambda flow: flow.batch(("a", lambda it: None), ("b", lambda it: 0)).end()) == {"a": None, "b": 0}


def test_batch_of_one_function_under_two_names_is_two_branches() -> None:
    assert given(lambda flow: flow.batch(("a", inc), ("b", inc)).end(), 1) == {"a": 2, "b": 2}


def test_batch_follows_batch() -> None:
    def build(flow: Flow) -> None:
        flow.to(inc).batch(inc, double).batch(("x", ident), ("y", ident)).end()

    inner = {"inc": 3, "double": 4}
    assert given(build, 1) == {"x": inner, "y": inner}


def test_batch_as_a_side_branch_leaves_the_value() -> None:
    assert given(lambda flow: flow.batch(inc, double, side_branch=True).to(inc).end(), 3) == 4


def test_batch_into_for_each_and_match() -> None:
    pair = (("a", ident), ("b", inc))
    assert given(lambda flow: flow.batch(*pair).for_each().to(lambda it: it.value["b"]).end_for_each().end(), 1) == [2]

    def build(flow: Flow) -> None:
        found = flow.batch(*pair).match().case(lambda data: data.value["b"] == 2).to(lambda data: "hit")
        found.case_else().to(lambda data: "miss").end_match().end()

    assert (given(build, 1), given(build, 5)) == ("hit", "miss")


def test_batch_fires_the_completion_of_its_chunks() -> None:
    flow, seen = Flow(), list[Any]()
    chunk = flow.chunk("cc")(inc)
    flow.batch(chunk, double).end()
    flow.when(chunk).to(noting(seen))
    assert (flow.start(1), seen) == ({"cc": 2, "double": 2}, [2])


# -- for_each --------------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "kinds"),
    [({"a": 1, "b": 2}, ["dict"]), (None, ["NoneType"]), ([None], ["NoneType"]), ([[1], [2]], ["list", "list"]),
     (Point(1, 2), ["int", "int"])],
)  # fmt: skip
def test_for_each_splits_sequences(value: Any, kinds: list[str]) -> None:
    assert given(lambda flow: flow.for_each().to(kind).end_for_each().end(), value) == kinds


class Model(BaseModel):
    a: int = 1
    b: int = 2


def test_for_each_takes_a_model_as_one_item() -> None:
    assert given(lambda flow: flow.for_each().to(kind).end_for_each().end(), Model()) == ["Model"]


def test_for_each_splits_a_deque() -> None:
    assert given(lambda flow: flow.for_each().to(double).end_for_each().end(), deque([1, 2])) == [2, 4]


def test_for_each_of_nothing_to_do_gives_the_items() -> None:
    assert given(lambda flow: flow.for_each().end_for_each().end(), [1, 2]) == [1, 2]


def test_for_each_nested_with_steps_between() -> None:
    def build(flow: Flow) -> None:
        inner = flow.for_each().for_each().to(inc).end_for_each().to(lambda data: sum(data.value))
        inner.end_for_each().to(sum_of).end()

    def sum_of(data: Any) -> Any:
        return (data.value, sum(data.value))

    assert given(build, [[1, 2], [3]]) == ([5, 4], 9)


def test_for_each_holds_match_batch_and_for_each() -> None:
    def build(flow: Flow) -> None:
        found = flow.for_each().match().case(1).for_each().batch(inc, double).end_for_each()
        found.case_else().to(double).end_match().end_for_each().end()

    assert given(build, [1, 2]) == [[{"inc": 2, "double": 2}], 4]


def test_for_each_holds_sub_flows() -> None:
    sub = Flow()
    sub.to(inc).to(inc).end()
    for limit in (None, 1, 2):
        flow = Flow()
        flow.for_each().to_sub_flow(sub, concurrency=limit).end_for_each().end()
        assert flow.start([*range(5)]) == [2, 3, 4, 5, 6]


def test_for_each_with_collect_joins_item_by_item() -> None:
    def build(flow: Flow) -> None:
        item = flow.for_each()
        item.to(inc).collect("c", "a")
        item.to(double).collect("c", "b").end_for_each().end()

    assert given(build, [1, 2]) == [{"a": 2, "b": 2}, {"a": 3, "b": 4}]


@pytest.mark.parametrize(("limit", "peak"), [(1, 1), (2, 2), (None, 6)])
def test_for_each_concurrency_is_how_many_items_run(limit: Any, peak: int) -> None:
    now, most = 0, 0

    async def work(data: Any) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return data.value

    flow = Flow()
    flow.for_each(concurrency=limit).to(work).end_for_each().end()
    assert (flow.start([*range(6)]), most) == ([*range(6)], peak)


# -- match -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "value", "hit"),
    [("a", "a", True), (None, None, True), ([1], [1], True), ({"a": 1}, {"a": 1}, True), (True, 1, True),
     (1, 1.0, True), ("1", 1, False)],
)  # fmt: skip
def test_match_compares_values_with_equals(case: Any, value: Any, hit: bool) -> None:
    def build(flow: Flow) -> None:
        found = flow.match().case(case).to(lambda data: "hit")
        found.case_else().to(lambda data: "else").end_match().end()

    assert given(build, value) == ("hit" if hit else "else")


def test_match_hit_all_gives_the_else_branch_as_it_is() -> None:
    def build(flow: Flow) -> None:
        found = flow.match(mode="hit_all").case(1).to(inc).case_else().to(lambda data: "else")
        found.end_match().end()

    assert (given(build, 1), given(build, 2)) == ([2], "else")


def test_match_hit_all_holds_blocks() -> None:
    def build(flow: Flow) -> None:
        found = flow.match(mode="hit_all").case(lambda data: True).batch(inc, double)
        found.case(lambda data: True).for_each().to(inc).end_for_each().end_match().end()

    assert given(build, 3) == [{"inc": 4, "double": 6}, [4]]


def test_match_nests() -> None:
    def build(flow: Flow) -> None:
        inner = flow.match().case(lambda data: data.value > 0).match().case(1).to(lambda data: "one")
        outer = inner.case_else().to(lambda data: "other").end_match()
        outer.case_else().to(lambda data: "minus").end_match().end()

    assert [given(build, it) for it in (1, 2, -1)] == ["one", "other", "minus"]


def test_match_conditions_see_the_state_and_may_be_objects() -> None:
    class IsOne:
        def __call__(self, data: Any) -> bool:
            return data.value == 1 and data.state.get("k") == 3

    def prepare(data: Any) -> Any:
        data.state.set("k", 3)
        return data.value

    def build(flow: Flow) -> None:
        flow.to(prepare).match().case(IsOne()).to(lambda data: "one").end_match().end()

    assert (given(build, 1), given(build, 2)) == ("one", 2)


def test_match_raises_what_a_condition_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        given(lambda flow: flow.match().case(lambda data: 1 / 0).to(inc).end_match().end(), 1)


def test_match_branches_may_end_and_have_side_branches() -> None:
    seen = list[Any]()

    def build(flow: Flow) -> None:
        found = flow.match().case(1).side_branch(noting(seen)).to(lambda data: "x").end()
        found.case_else().to(lambda data: "y").end_match().end()

    assert (given(build, 1), given(build, 2), seen) == ("x", "y", [1])


def test_match_begins_with_a_case() -> None:
    with pytest.raises(NotImplementedError):
        Flow().match().case_else()


def test_case_by_keyword() -> None:
    found: Any = Flow().match()
    found.case(condition=1)


def test_conditions_in_a_row() -> None:
    def build(flow: Flow) -> None:
        first = flow.if_condition(lambda data: data.value > 3).to(lambda data: "big")
        second = first.else_condition().to(lambda data: "small").end_condition().if_condition("big")
        second.to(lambda data: "B").end_condition().end()

    assert (given(build, 5), given(build, 1)) == ("B", "small")


# -- collect ---------------------------------------------------------------------------------------------------------


def test_collect_gives_branches_without_an_id_one_of_their_own() -> None:
    assert [*given(lambda flow: flow.to(inc).collect("c").end(), 1).values()] == [2]


def test_collect_can_be_waited_for_as_an_event() -> None:
    for trigger in ("Collect-c", {"event": "Collect-c"}):
        flow, seen = Flow(), list[Any]()
        flow.to(inc).collect(collection_name="c", branch_id="a")
        flow.when(trigger).to(noting(seen))
        flow.start(1, wait_for_result=False)
        assert seen == [{"a": 2}]


def test_collect_of_a_whole_batch() -> None:
    value = given(lambda flow: flow.batch(inc, double).collect("c", "x").end(), 3)
    assert value == {"x": {"inc": 4, "double": 6}}


# -- to_sub_flow -----------------------------------------------------------------------------------------------------


def told(**options: Any) -> Any:
    """What a child is told, and what its parent has afterwards."""
    child, parent = Flow(), Flow()

    def tell(data: Any) -> Any:
        return {"input": data.value, "state": data.state.to_dict(), "resources": dict(data.resources)}

    def prepare(data: Any) -> Any:
        data.state.set("k", 7)
        return data.value

    def end(data: Any) -> Any:
        return (data.value, data.state.to_dict())

    child.to(tell).end()
    parent.to(prepare).to_sub_flow(child, **options).to(end).end()
    return parent.start({"a": {"b": 5}}, runtime_resources={"r": 9})


def test_sub_flow_gets_the_value_and_gives_its_result_by_default() -> None:
    value, state = told()
    assert (value, state) == ({"input": {"a": {"b": 5}}, "state": {}, "resources": {}}, {"k": 7})


@pytest.mark.parametrize(
    ("source", "expected"),
    [("value", {"a": {"b": 5}}), ("value.a.b", 5), ("runtime_data.k", 7), ("runtime_data", {"k": 7}),
     ("resources.r", 9)],
)  # fmt: skip
def test_sub_flow_captures_its_input(source: str, expected: Any) -> None:
    assert told(capture={"input": source})[0]["input"] == expected


@pytest.mark.parametrize("capture", [{}, {"runtime_data": {"x.y": "value.a"}}, {"resources": {"q": "resources.r"}}])
def test_sub_flow_with_a_capture_of_no_input_gets_none(capture: Any) -> None:
    assert told(capture=capture)[0]["input"] is None


def test_sub_flow_captures_into_paths() -> None:
    value, _ = told(
        capture={"input": {"x": "value.a"}, "runtime_data": {"x.y": "value.a"}, "resources": {"q.r": "resources.r"}}
    )
    assert value == {"input": {"x": {"b": 5}}, "state": {"x": {"y": {"b": 5}}}, "resources": {"q": {"r": 9}}}


@pytest.mark.parametrize("write_back", [{}, {"runtime_data": {"o.p": "result.input.a"}}])
def test_sub_flow_with_a_write_back_of_no_value_leaves_it(write_back: Any) -> None:
    value, state = told(write_back=write_back)
    assert (value, state.get("o")) == ({"a": {"b": 5}}, {"p": {"b": 5}} if write_back else None)


def test_sub_flow_writes_back_into_a_path_of_the_value() -> None:
    assert told(write_back={"value": {"x": "result.state"}})[0] == {"a": {"b": 5}, "x": {}}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"capture": {"bad": "value"}}, ValueError), ({"capture": {"input": "result"}}, ValueError),
        ({"capture": {"input": "value."}}, ValueError), ({"capture": {"input": ""}}, ValueError),
        ({"write_back": {"resources": {"o": "result"}}}, ValueError), ({"write_back": {"value": "value"}}, ValueError),
        ({"write_back": {"runtime_data": {"a": "result", "a.b": "result"}}}, ValueError),
        ({"capture": {"runtime_data": {"x": "runtime_data.none"}}}, KeyError),
        ({"write_back": {"value": "result.none"}}, KeyError),
    ],
)  # fmt: skip
def test_sub_flow_refuses_wrong_paths(options: Any, error: Any) -> None:
    with pytest.raises(error):
        told(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"capture": "value"}, TypeError), ({"capture": {"input": 5}}, TypeError),
        ({"capture": {"runtime_data": {"a": 5}}}, TypeError),
        ({"capture": {"runtime_data": "value"}}, TypeError),
        ({"capture": {"runtime_data": {"": "value"}}}, ValueError),
    ],
)  # fmt: skip
def test_sub_flow_refuses_what_is_no_path(options: Any, error: Any) -> None:
    with pytest.raises(error):
        told(**options)


def test_sub_flow_by_keyword() -> None:
    sub, flow = Flow(), Flow()
    sub.to(inc).end()
    flow.to_sub_flow(trigger_flow=sub).to_sub_flow(trigger_flow=sub).end()  # type: ignore[call-arg]
    assert flow.start(1) == 3


def test_sub_flow_nests_sets_results_and_raises() -> None:
    inner, outer, setting, failing = Flow(), Flow(), Flow(), Flow()
    inner.to(inc).end()
    outer.to(inner).to(inc).end()
    setting.to(lambda data: data.set_result("set"))
    failing.to(lambda data: 1 / 0).end()
    assert given(lambda flow: flow.to(outer).to(inc).end(), 1) == 4
    assert given(lambda flow: flow.to(setting).end(), 1) == "set"
    with pytest.raises(ZeroDivisionError):
        given(lambda flow: flow.to(failing).end(), 1)


def test_sub_flow_is_taken_as_it_is_when_it_is_called() -> None:
    sub, flow = Flow(), Flow()
    process = sub.to(inc)
    process.end()
    flow.to(sub).end()
    assert flow.start(1) == 2
    process.to(lambda data: data.set_result("later"))
    assert flow.start(1) == "later"


def test_sub_flow_has_events_of_its_own() -> None:
    sub, flow, inside, outside = Flow(), Flow(), list[Any](), list[Any]()

    def fire(data: Any) -> Any:
        data.emit("Ev", 1)
        return data.value

    sub.to(fire).end()
    sub.when("Ev").to(("inside", noting(inside)))
    flow.to(sub).end()
    flow.when("Ev").to(("outside", noting(outside)))
    assert (flow.start(5), inside, outside) == (5, [1], [])


# -- the rest --------------------------------------------------------------------------------------------------------


def test_separator_takes_any_keywords_and_prints_them_with_tabs(capsys: Any) -> None:
    flow = Flow()
    flow.to(inc).____("hey", "you", print_info=True, show_value=True, x=1, y="z").end()  # type: ignore[call-arg]
    assert (flow.start(1), capsys.readouterr().out) == (2, "hey\tyou\tx:1\ty:z 2\n")


def test_separator_without_words() -> None:
    assert given(lambda flow: flow.to(inc).____().____("log", log_info=True).to(inc).end(), 1) == 3


@pytest.mark.parametrize("value", [None, 0, "", False, [], {}])
def test_end_takes_falsy_values(value: Any) -> None:
    assert given(lambda flow: flow.to(lambda data: value).end(), 1) == value


def test_set_result_of_none_is_a_result_and_the_last_one_counts() -> None:
    def none(data: Any) -> Any:
        data.set_result(None)
        return 1

    def twice(data: Any) -> Any:
        data.set_result("first")
        data.set_result("second")

    assert given(lambda flow: flow.to(none).end()) is None
    assert given(lambda flow: flow.to(twice)) == "second"
