"""Contracts, configs that are added to a flow, declared events and removed executions. Comments quote 4.0.9."""

import json
import sys
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import pytest
from agently import TriggerFlow, TriggerFlowInterruptEvent
from agently import contract as contracts
from pydantic import TypeAdapter

from tests.bridge.support import double, ident, inc, noting

Flow = TriggerFlow[Any, Any, Any]


class Item(TypedDict):
    x: int


class Base(TypedDict, total=False):
    note: str


class Order(Base):
    """An order."""

    items: list[Item]
    by: dict[str, Item | None]
    first: Annotated[Item, "the first"]
    kind: Literal["a", "b"]
    more: NotRequired[tuple[Item, int]]


class Loose(TypedDict, total=False):
    must: Required[int]
    may: int


class Nested(TypedDict):
    inside: "Nested | None"


# -- contracts -------------------------------------------------------------------------------------


async def test_typed_dicts_of_typing_are_checked_and_converted() -> None:
    # on Python 3.11 4.0.9 raises a TypeError: Pydantic wants the TypedDict of typing_extensions there
    flow = Flow()
    flow.set_contract(initial_input=Order, stream=Item, result=list[Item] | None)
    flow.to(lambda data: data.value["items"]).end()
    order = {"items": [{"x": "3"}], "by": {"k": None}, "first": {"x": 1}, "kind": "a"}
    assert await flow.async_start(order) == [{"x": 3}]
    for wrong in ({**order, "items": [{"x": "no"}]}, {**order, "kind": "c"}, {"items": []}):
        with pytest.raises(ValueError, match="'initial_input'"):
            await flow.async_start(wrong)
    assert flow.get_contract().initial_input is Order
    schema = flow.get_contract_metadata()["initial_input"]
    assert (schema["label"], schema["schema"]["required"]) == ("Order", ["items", "by", "first", "kind"])
    assert sorted(schema["schema"]["properties"]) == ["by", "first", "items", "kind", "more", "note"]


async def test_required_keys_of_a_loose_typed_dict() -> None:
    flow = Flow()
    flow.set_contract(initial_input=Loose)
    flow.to(ident).end()
    assert await flow.async_start({"must": "1"}) == {"must": 1}
    with pytest.raises(ValueError, match="must"):
        await flow.async_start({"may": 1})


@pytest.mark.parametrize("kind", [int, list[int], dict[str, int], int | None, Literal["a"], tuple[int, ...], set[int]])
def test_types_without_a_typed_dict_are_as_before(kind: Any) -> None:
    flow = Flow()
    flow.set_contract(initial_input=kind)
    assert flow.get_contract_metadata()["initial_input"]["schema"] == TypeAdapter(kind).json_schema()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Pydantic takes this type there")
def test_a_typed_dict_that_contains_itself_is_named_in_the_error() -> None:
    flow = Flow()
    with pytest.raises(TypeError, match=r"'initial_input'.*typing_extensions\.TypedDict"):
        flow.set_contract(initial_input=Nested)


def test_the_schema_of_the_interrupt_event_is_written_out() -> None:
    flow = Flow()
    flow.set_contract(meta={"a": 1})
    told = flow.get_contract_metadata()
    assert (told["meta"], told["initial_input"]) == ({"a": 1}, None)
    event = told["system_stream"]["interrupt"]
    assert event["label"] == "TriggerFlowInterruptEvent"
    schema = event["schema"]
    assert "$ref" not in schema  # 4.0.9 has the keys of the event at the top
    assert list(schema["properties"]) == ["type", "action", "execution_id", "interrupt", "signal", "value"]
    same = contracts.adapter_of(TriggerFlowInterruptEvent, "stream").json_schema()
    del same["description"], same["$defs"]["TriggerFlowInterrupt"]["description"]
    assert schema == same
    schema["properties"].clear()  # a copy
    assert flow.get_contract_metadata()["system_stream"]["interrupt"]["schema"] == same


# -- configs ---------------------------------------------------------------------------------------


def _flow(name: str, *handlers: Any) -> Flow:
    flow = Flow(name=name)
    for handler in handlers:
        flow.register_chunk_handler(handler)
    return flow


async def test_a_config_with_the_same_names_is_added() -> None:
    seen = list[Any]()
    note = noting(seen)
    source = _flow("source", note)
    source.to(note).to(("last", note)).end()
    flow = _flow("own", note)
    flow.register_chunk_handler(note, name="last")
    flow.to(note)
    assert flow.load_flow_config(source.get_flow_config(), replace=False) is flow
    # 4.0.9: both run, the flow keeps its steps, and its own name is not that of the config
    assert await flow.async_start(1) == 1
    assert (seen, flow.name) == ([1, 1, 1], "own")
    operators = flow.get_flow_config()["operators"]
    assert [it["name"] for it in operators if it["kind"] == "chunk"] == ["note", "note", "last"]
    assert len({it["id"] for it in operators}) == len(operators)


async def test_every_operator_can_be_added_again() -> None:
    def wire(flow: Flow) -> None:
        process = flow.to(inc).batch(("p", inc), ("q", double))
        process.to(values).for_each().to(inc).end_for_each().match().case(0).to(inc).case_else().to(
            ident
        ).end_match().to(("sum", total))
        flow.when("Ev").to(inc)
        flow.when({"runtime_data": "k", "event": ["A", "B"]}, mode="and").to(inc)

    async def values(data: Any) -> Any:
        return list(data.value.values())

    seen = list[Any]()

    async def total(data: Any) -> Any:
        seen.append(sum(data.value))

    handlers = (inc, double, ident, values)
    source, flow = _flow("source", *handlers), _flow("own", *handlers)
    for it in (source, flow):
        for name, handler in (("p", inc), ("q", double), ("sum", total)):
            it.register_chunk_handler(handler, name=name)
        wire(it)
    flow.when("Other").to(ident)  # the two are not the same
    flow.load_flow_config(source.get_flow_config(), replace=False)
    await flow.async_start(1, wait_for_result=False)
    assert seen == [9, 9]  # (2 + 1 + 1) + (2 * 2 + 1), twice
    again = _flow("again", *handlers)
    for name, handler in (("p", inc), ("q", double), ("sum", total)):
        again.register_chunk_handler(handler, name=name)
    again.load_json_flow(flow.get_json_flow())
    await again.async_start(1, wait_for_result=False)
    assert seen == [9] * 4


async def test_the_same_config_twice_and_the_flow_itself_are_refused() -> None:
    source = _flow("source", inc)
    source.to(inc).end()
    config = source.get_flow_config()
    flow = _flow("own", inc)
    flow.load_flow_config(config, replace=False)
    assert flow.name == "source"  # it was empty, and is that flow now
    for wrong in (config, flow.get_flow_config()):
        with pytest.raises(ValueError, match="already exist"):  # "TriggerFlow operator '...' already exists."
            flow.load_flow_config(wrong, replace=False)
    assert await flow.async_start(1) == 2
    flow.to(double)
    with pytest.raises(ValueError, match="already exist"):
        flow.load_flow_config(config, replace=False)
    flow.load_flow_config(config)
    assert await flow.async_start(1) == 2


async def test_another_function_of_the_same_name_stays_the_flows_own() -> None:
    seen = list[str]()

    async def one(data: Any) -> None:
        seen.append("one")

    async def two(data: Any) -> None:
        seen.append("two")

    source, flow = Flow(), Flow()
    source.to(("n", two)).end()
    flow.register_chunk_handler(one, name="n")
    flow.to(("n", one))
    flow.load_flow_config(source.get_flow_config(), replace=False)
    await flow.async_start(1)
    assert seen == ["one", "one"]  # as there: a config has names, and this flow knows one function of this name


async def test_what_is_wired_after_a_load_is_a_chunk_of_its_own() -> None:
    seen = list[Any]()
    note = noting(seen)
    source = _flow("source", note)
    source.to(note).to(note)
    flow = _flow("own", note)
    flow.load_flow_config(source.get_flow_config())
    flow.to(note)
    await flow.async_start(1, timeout=1)
    assert seen == [1, 1, 1]


# -- declared events, removed executions -----------------------------------------------------------


def test_declared_events_are_drawn() -> None:
    flow = Flow()
    flow.to(flow.chunk("c")(ident).declare_emits("Heard", "Unheard"))
    flow.when("Heard").to(inc)
    for mode in ("simplified", "detailed"):  # in 4.0.9 a node, signal_out_event_Unheard, and a line to it
        picture = flow.to_mermaid(mode=mode)
        boxes = dict(line.strip().replace("(", ">").split(">", 1) for line in picture.splitlines() if '>"' in line)
        (unheard,) = [box for box, label in boxes.items() if "Unheard" in label]
        assert sum(f"-.-> {unheard}" in line for line in picture.splitlines()) == 1
        assert picture.count('"Heard"') == 1  # the line to what listens


async def test_a_removed_execution_gets_no_changes_of_flow_data() -> None:
    for by_id in (False, True):
        flow, seen = Flow(), list[Any]()
        flow.when({"flow_data": "k"}).to(noting(seen))
        kept, gone = flow.create_execution(), flow.create_execution()
        await flow.async_set_flow_data("k", 1)
        flow.remove_execution(gone.id if by_id else gone)
        flow.remove_execution("no such id")
        await flow.async_set_flow_data("k", 2)
        assert seen == [1, 1, 2]
        await gone.async_start(1, timeout=1)  # it can still be used
        await flow.async_set_flow_data("k", 3)
        assert seen == [1, 1, 2, 3]
        assert kept.get_status() != "failed"


def test_an_export_with_declared_events_can_be_read_again() -> None:
    flow = Flow()
    flow.to(flow.chunk("c")(ident).declare_emits("Unheard"))
    again = _flow("again")
    again.register_chunk_handler(ident, name="c")
    again.load_flow_config(json.loads(flow.get_json_flow()))
    assert "Unheard" in again.to_mermaid()
