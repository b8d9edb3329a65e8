"""What a state holds is not changed in place (decision 0021), in memory and in a store alike."""

import copy
import dataclasses
import json
from typing import Any

import pytest

from tests.support import turns
from triggerflow import TriggerFlow
from triggerflow.errors import ContractError, UsageError
from triggerflow.reducers import append
from triggerflow.stores import MemoryStore

CHANGES = {
    "append": ([1], lambda held: held.append(2)),
    "sort": ([2, 1], lambda held: held.sort()),
    "item of a list": ([1], lambda held: held.__setitem__(0, 2)),
    "slice": ([1], lambda held: held.__delitem__(slice(None))),
    "+=": ([1], lambda held: held.__iadd__([2])),
    "key": ({}, lambda held: held.__setitem__("a", 1)),
    "update": ({}, lambda held: held.update(a=1)),
    "setdefault": ({}, lambda held: held.setdefault("a", [])),
    "|=": ({}, lambda held: held.__ior__({"a": 1})),
    "pop": ({"a": 1}, lambda held: held.pop("a")),
    "set": ({1}, lambda held: held.add(2)),
    "set |=": ({1}, lambda held: held.__ior__({2})),
    "list in a dict": ({"a": [1]}, lambda held: held["a"].append(2)),
    "dict in a tuple in a list": ([({},)], lambda held: held[0][0].update(a=1)),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    "how", ["memory", "store", "loaded", "resumed", "default", "listener", "flow_state", "outside"]
)
async def test_a_change_in_place_is_refused_and_changes_nothing(name: str, how: str) -> None:
    value, change = CHANGES[name]
    before = copy.deepcopy(value)
    flow, refused = TriggerFlow(name="f"), list[str]()

    def attempt(held: Any) -> None:
        with pytest.raises(UsageError, match=r"state\.append"):
            change(held)
        assert held == before
        refused.append(name)

    async def work(data: Any) -> None:
        if how == "default":
            attempt(data.state.get("k", value))
        elif how == "flow_state":
            data.flow_state.set("k", value)
            attempt(data.flow_state.get("k"))
        else:
            data.state.set("k", value)
            attempt(data.state.get("k"))
        data.pause_for(interrupt_id="q")

    async def after(data: Any) -> Any:
        if how in ("loaded", "resumed"):
            attempt(data.state.get("k"))

    async def heard(data: Any) -> None:
        attempt(data.value)

    flow.to(work).to(after).end()
    if how == "listener":
        flow.when({"runtime_data": "k"}).to(heard)
    first = MemoryStore()
    async with first as store:
        execution = flow.create_execution(store=store if how in ("store", "resumed") else None, id="x")
        await execution.async_begin()
        await turns(50)
        if how == "outside":
            attempt(execution.state.get("k"))
        saved = json.dumps(execution.save()) if how == "loaded" else ""
        if how != "resumed":
            await execution.async_cancel()
    if how == "loaded":
        again = flow.load_execution(saved)
        await again.async_continue_with("q")
        await again.async_get_result()
    elif how == "resumed":
        async with MemoryStore(first.data) as store:
            again = await flow.async_resume("x", store=store)
            await again.async_continue_with("q")
            await again.async_get_result()
    assert len(refused) == (2 if how in ("loaded", "resumed", "listener", "outside") else 1)


async def test_what_was_given_can_be_changed_and_what_was_read_can_be_copied() -> None:
    async def work(data: Any) -> Any:
        mine = [[1]]
        data.state.set("k", mine)
        mine[0].append(2)
        held = data.state.get("k")
        assert held == [[1]]
        assert json.dumps(held) == "[[1]]"
        copies = [copy.deepcopy(held), held.copy(), [*held], held[:], copy.copy(held)]
        for made in copies:
            assert type(made) is list
            made.append(3)
        copies[0][0].append(3)
        return data.state.get("k")

    flow = TriggerFlow()
    flow.to(work).end()
    assert await flow.async_start() == [[1]]


async def test_a_value_of_the_state_means_the_same_before_and_after_a_restart() -> None:
    async def work(data: Any) -> Any:
        data.state.set("k", {"a": [1]})
        return data.state.get("k")

    async def slow(data: Any) -> Any:
        await data.async_emit("got", data.value)
        data.pause_for(interrupt_id="q", payload=data.value)

    async def change(data: Any) -> None:
        with pytest.raises(UsageError, match="belongs to a state"):
            data.value["a"].append(2)
        changed.append(data.value)

    changed: list[Any] = []
    flow = TriggerFlow(name="f")
    flow.to(work).to(slow).to(lambda data: None).end()
    flow.when("got").to(change)
    first = MemoryStore()
    async with first as store:
        await flow.create_execution(store=store, id="x").async_begin()
        await turns(50)
    async with MemoryStore(first.data) as store:
        again = await flow.async_resume("x", store=store)
        payload = again.get_pending_interrupts()["q"]["payload"]
        with pytest.raises(UsageError, match="belongs to a state"):
            payload["a"].append(2)
        await again.async_continue_with("q", 1)
        await again.async_get_result()
    assert changed == [{"a": [1]}]


# -- update and typed keys ---------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Findings:
    hits: list[str] = dataclasses.field(default_factory=list[str])
    total: int = 0


async def test_update_takes_a_function_or_a_value_and_records_what_came_out() -> None:
    calls: list[int] = []

    async def work(data: Any) -> None:
        def more(total: int) -> int:
            calls.append(total)
            return total + 1

        assert data.state.update("total", more) == 1
        assert await data.state.async_update("total", 7) == 7
        assert data.state.update("hits", "a") == ["a"]  # by its reducer
        data.pause_for(interrupt_id="q")

    flow = TriggerFlow(name="f").set_state(Findings, reducers={"hits": append})
    flow.to(work).to(lambda data: data.state.to_dict()).end()
    first = MemoryStore()
    async with first as store:
        await flow.create_execution(store=store, id="x").async_begin()
        await turns(50)
    async with MemoryStore(first.data) as store:
        again = await flow.async_resume("x", store=store)
        await again.async_continue_with("q", 1)
        assert await again.async_get_result() == {"hits": ["a"], "total": 7}
    assert calls == [0]


async def test_an_unknown_key_of_typed_state_is_refused_everywhere_with_the_nearest_one() -> None:
    async def work(data: Any) -> None:
        state = data.state
        for call in (
            lambda: state.get("totl"), lambda: state.get("totl", 5), lambda: state["totl"],
            lambda: state.delete("totl"), lambda: state.set("totl", 1), lambda: state.append("totl", 1),
            lambda: state.update("totl", 1), lambda: state.reduce("totl", 1),
        ):  # fmt: skip
            with pytest.raises(ContractError, match="did you mean 'total'"):
                call()
        with pytest.raises(ContractError, match="did you mean 'total'"):
            await state.async_get("totl")
        assert "totl" not in state

    flow = TriggerFlow().set_state(Findings)
    flow.to(work)
    await flow.async_start()
