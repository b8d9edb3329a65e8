"""Typed signals, typed state and the contract (S4a): checked where it happens, and no update lost."""

import asyncio
import dataclasses
import operator
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from tests.support import drain, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ContractError, DefinitionError, UsageError
from triggerflow.reducers import add, append, extend, maximum, merge, minimum

Data = TriggerFlowRuntimeData[Any]


@dataclasses.dataclass
class Query:
    text: str
    limit: int = 10


class QueryStruct(msgspec.Struct):
    text: str
    limit: int = 10


class QueryModel(pydantic.BaseModel):
    text: str
    limit: int = 10


async def echo(data: Data) -> Any:
    return data.value


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Query, QueryStruct, QueryModel])
async def test_s4a_a_declared_signal_is_checked_on_emit(kind: Any) -> None:
    """S4a: "a declared signal (`flow.signal("query_ready", Query)`) is checked on emit"; what fits is converted."""
    flow, seen = TriggerFlow(), list[Any]()
    ready = flow.signal("query_ready", kind)

    async def note(data: Data) -> None:
        seen.append(data.value)

    async def source(data: Data) -> None:
        await data.async_emit(ready, kind(text="a"))
        await data.async_emit("query_ready", {"text": "b", "limit": 1})
        data.emit(ready, kind(text="c"))
        for wrong in ({"text": 1}, "text", None, {}):
            with pytest.raises(ContractError, match="query_ready"):
                await data.async_emit(ready, wrong)
            with pytest.raises(ContractError, match="query_ready"):
                data.emit("query_ready", wrong)

    flow.to(source)
    flow.when(ready).to(note)
    await flow.async_start()
    assert seen == [kind(text="a"), kind(text="b", limit=1), kind(text="c")]


async def test_s4a_a_wrong_value_from_outside_changes_nothing() -> None:
    """S4a: the sender is told; the execution does not notice."""
    flow = TriggerFlow()
    number = flow.signal("number", int, external=True)
    flow.when(number).end()
    execution = flow.create_execution()
    execution.begin()
    await turns()
    before = execution.save()
    with pytest.raises(ContractError, match="number"):
        await execution.async_emit(number, "five")
    with pytest.raises(ContractError, match="number"):
        execution.emit("number", "five")
    assert execution.save() == before
    await execution.async_emit(number, 5)
    assert await execution.async_get_result() == 5


@pytest.mark.parametrize("expected", [int | None, list[int], dict[str, Query], Any, tuple[int, str]])
async def test_s4a_any_type_can_be_declared(expected: Any) -> None:
    """S4a: generic types too."""
    flow = TriggerFlow()
    signal = flow.signal("s", expected, external=True)
    flow.when(signal).end()
    good = {int | None: None, list[int]: [1], dict[str, Query]: {"a": Query("x")}, tuple[int, str]: (1, "a")}
    execution = flow.create_execution()
    execution.begin()
    if expected is not Any:
        with pytest.raises(ContractError):
            await execution.async_emit(signal, object())
    await execution.async_emit(signal, good.get(expected, 1))
    assert await execution.async_get_result() == good.get(expected, 1)


@pytest.mark.parametrize("how", ["delay", "provisional", "answer as event"])
async def test_s4a_every_way_of_emitting_is_checked(how: str) -> None:
    """S4a: "checked wherever the event is emitted": also later, provisionally, or as the answer to a question."""
    flow = TriggerFlow()
    signal = flow.signal("number", int)

    async def source(data: Data) -> None:
        if how == "answer as event":
            data.pause_for(interrupt_id="q", resume_event="number")
        await data.async_emit(signal, "five", **({"delay": 5} if how == "delay" else {"provisional": True}))

    flow.to(source)
    flow.when(signal).end()
    execution = flow.create_execution()
    execution.begin()
    await turns(30)
    asked = how == "answer as event"
    with pytest.raises(ContractError, match="number"):
        await (execution.async_continue_with("q", "five") if asked else execution.async_get_result(timeout=50))
    await execution.async_cancel()


# -- state -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Findings:
    hits: Annotated[list[str], append] = dataclasses.field(default_factory=list)
    best: int | None = None
    total: int = 0
    by_name: dict[str, int] = dataclasses.field(default_factory=dict)
    note: str = dataclasses.field(default="", kw_only=True)


class FindingsStruct(msgspec.Struct):
    hits: Annotated[list[str], append] = []
    best: int | None = None
    total: int = 0
    by_name: dict[str, int] = {}
    note: str = ""


class FindingsModel(pydantic.BaseModel):
    hits: Annotated[list[str], append] = []
    best: int | None = None
    total: int = 0
    by_name: dict[str, int] = pydantic.Field(default_factory=dict)
    note: str = ""


MODELS = [Findings, FindingsStruct, FindingsModel]
REDUCERS = {"best": maximum, "total": operator.add, "by_name": merge}


@pytest.mark.parametrize("model", MODELS)
async def test_s4a_concurrent_branches_lose_no_update(model: Any) -> None:
    """S4a: "state can be a model with reducers (append, merge, max, own function), so that concurrent branches lose no
    update"; from async chunks, inline ones and threads."""
    flow = TriggerFlow().set_state(model, reducers=REDUCERS)

    async def work(data: Data) -> None:
        await asyncio.sleep(data.value % 3)
        data.state.reduce("hits", str(data.value))
        await data.state.async_reduce("best", data.value)

    def threaded(data: Data) -> None:
        data.state.reduce("total", 1)
        data.state.reduce("by_name", {str(data.value): data.value})

    flow.for_each().batch(work, threaded).end_for_each()
    execution = flow.create_execution()
    await execution.async_start(list(range(30)))
    state = execution.state.to_dict()
    assert sorted(map(int, state["hits"])) == list(range(30))
    assert (state["best"], state["total"]) == (29, 30)
    assert state["by_name"] == {str(number): number for number in range(30)}


@pytest.mark.parametrize("model", MODELS)
async def test_s4a_state_is_checked_and_starts_with_its_defaults(model: Any) -> None:
    """S4a: "state as a Pydantic model, msgspec struct or dataclass": unknown keys and wrong types are the chunk's
    errors, and nothing is changed by them. Executions do not share a default."""
    flow = TriggerFlow().set_state(model, reducers=REDUCERS)

    async def work(data: Data) -> Any:
        before = data.state.to_dict()
        for change in (
            lambda: data.state.set("total", "many"),
            lambda: data.state.set("unknown", 1),
            lambda: data.state.append("hits", 5),
            lambda: data.state.reduce("total", None),
            lambda: data.state.reduce("note", "x"),
            lambda: data.state.update("best", lambda best: "best"),
        ):
            with pytest.raises((ContractError, TypeError)):
                change()
        assert data.state.to_dict() == before
        data.state.append("hits", "a")
        data.state.get("by_name")
        return before

    flow.to(work).end()
    for _ in range(2):
        assert await flow.async_start() == {"hits": [], "best": None, "total": 0, "by_name": {}, "note": ""}


@pytest.mark.parametrize(
    ("reducer", "values", "expected"),
    [
        (append, [1, 2], [1, 2]), (extend, [[1], [2, 3]], [1, 2, 3]), (merge, [{"a": 1}, {"a": 2}], {"a": 2}),
        (maximum, [0, 5, 3], 5), (minimum, [0, 5, -3], -3), (add, [1, 2], 3), (add, ["a", "b"], "ab"),
    ],
)  # fmt: skip
async def test_s4a_the_reducers(reducer: Any, values: list[Any], expected: Any) -> None:
    """S4a: each reducer begins from nothing, and changes no object that was handed out."""
    flow = TriggerFlow().set_state(dataclasses.make_dataclass("Model", [("k", Any)]), reducers={"k": reducer})
    seen: list[Any] = []

    async def work(data: Data) -> Any:
        for value in values:
            held = data.state.reduce("k", value)
            seen.extend([(held, repr(held))])
        return data.state.get("k")

    flow.to(work).end()
    assert await flow.async_start() == expected
    assert all(repr(held) == text for held, text in seen)


def test_s4a_a_wrong_model_or_reducer_is_an_error_of_the_definition() -> None:
    """S4a: told while the flow is written."""
    flow = TriggerFlow()
    for model in (dict, int, "text", None):
        with pytest.raises(DefinitionError):
            flow.set_state(model)  # pyright: ignore
    with pytest.raises(DefinitionError, match="typo"):
        flow.set_state(Findings, reducers={"typo": add})


async def test_s4a_update_is_atomic() -> None:
    """`state.update(key, function)`: nothing comes between reading and writing, from any thread."""
    flow = TriggerFlow()

    def threaded(data: Data) -> None:
        for _ in range(20):
            data.state.update("n", lambda n: n + 1, 0)

    async def work(data: Data) -> None:
        for _ in range(20):
            await data.state.async_update("n", lambda n: n + 1, 0)
            await asyncio.sleep(0)

    flow.for_each().batch(threaded, work).end_for_each()
    execution = flow.create_execution()
    await execution.async_start(range(10))
    assert execution.state.get("n") == 400


# -- contract ----------------------------------------------------------------------------------------------------------


async def test_the_contract_checks_and_converts() -> None:
    """`set_contract`: the start value, the stream's items and the result, each converted where that is natural."""
    flow = TriggerFlow().set_contract(initial_input=Query, stream=int, result=QueryModel)
    seen: list[Any] = []

    async def work(data: Data) -> Any:
        seen.append(data.value)
        await data.async_put_into_stream(1)
        with pytest.raises(ContractError, match="stream"):
            await data.async_put_into_stream("one")
        with pytest.raises(ContractError, match="stream"):
            data.put_into_stream("one")
        return {"text": data.value.text}

    flow.to(work).end()
    execution = flow.create_execution()
    assert await drain(execution.get_async_runtime_stream({"text": "a"})) == ([1], None)
    assert seen == [Query("a")]
    assert await execution.async_get_result() == QueryModel(text="a")


async def test_a_wrong_start_value_starts_nothing() -> None:
    """A start value that breaks the contract is refused; the execution can be started with another one."""
    flow = TriggerFlow().set_contract(initial_input=int)
    flow.to(echo).end()
    execution = flow.create_execution()
    with pytest.raises(ContractError, match="initial_input"):
        await execution.async_start("five")
    assert execution.get_status() == "created"
    assert await execution.async_start(5) == 5


@pytest.mark.parametrize("how", ["end", "set_result"])
async def test_a_wrong_result_fails_the_execution(how: str) -> None:
    """A result that breaks the contract is told to every waiter and reader."""
    flow = TriggerFlow().set_contract(result=int)

    async def work(data: Data) -> str:
        if how == "set_result":
            data.set_result("text")  # pyright: ignore
        return "text"

    flow.to(work).end()
    execution = flow.create_execution()
    items, error = await drain(execution.get_async_runtime_stream("go"))
    assert isinstance(error, ContractError)
    assert items == []
    with pytest.raises(ContractError, match="result"):
        await execution.async_get_result()
    assert execution.get_status() == "failed"


async def test_none_as_the_result_of_a_contract() -> None:
    """S5: None is a result: where one is promised, a flow that fixes none has broken its promise."""
    flow = TriggerFlow().set_contract(result=int)
    flow.to(lambda data: None).end()
    with pytest.raises(ContractError, match="result"):
        await flow.async_start()


async def test_the_contract_is_kept_by_parts() -> None:
    """ "what is left out stays as it is"."""
    flow = TriggerFlow().set_contract(initial_input=int).set_contract(result=str, meta={"v": 1})
    flow.to(echo).end()
    assert flow.get_contract().types == {"initial_input": int, "result": str}
    assert flow.get_contract().meta == {"v": 1}
    with pytest.raises(ContractError, match="initial_input"):
        await flow.async_start("text")
    with pytest.raises(ContractError, match="result"):
        await flow.async_start(1)


async def test_the_state_as_the_attributes_of_its_model() -> None:
    """`state.typed(Model)`: keys and types are known to type checkers, and each change is recorded."""
    flow, seen = TriggerFlow(name="typed state"), list[Any]()

    @dataclasses.dataclass
    class Brief:
        topic: str
        rounds: int = 0

    flow.set_state(Brief)

    async def work(data: Any) -> None:
        state = data.state.typed(Brief)
        state.topic = "sails"
        state.rounds += 1
        for wrong in (lambda: state.round, lambda: setattr(state, "topik", "x"), lambda: delattr(state, "rouns")):
            with pytest.raises(AttributeError, match="did you mean"):
                wrong()
        with pytest.raises(ContractError):
            state.rounds = "one"
        del state.topic
        with pytest.raises(AttributeError, match="no value at 'topic'"):
            seen.append(state.topic)
        with pytest.raises(UsageError, match=r"declares Brief, not .*; call flow.set_state\(int\)"):
            data.state.typed(int)

    flow.to(work)
    flow.when({"runtime_data": "rounds"}).to(lambda data: seen.append(data.value))
    await flow.async_start()
    assert seen == [1]
