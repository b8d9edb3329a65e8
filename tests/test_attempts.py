"""What a repeated attempt of a chunk does counts, unless a failed attempt has done the same; decision 0022."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from triggerflow import Retry, TriggerFlow

Data = Any
IN_MEMORY = pytest.mark.skipif("TRIGGERFLOW_TEST_STORE" in os.environ, reason="a class that cannot be recorded")


@dataclass
class Note:
    """Of a class that is not registered."""

    text: str


async def twice(first: Callable[[Data], Any], second: Callable[[Data], Any], *listens: str) -> tuple[Any, ...]:
    """Run a chunk that fails after `first` and completes with what `second` returns.

    Returns the value of the chunk, the stream items, what the listeners of these events or keys of state have got, and
    the state."""
    flow, heard = TriggerFlow("twice"), list[Any]()

    @flow.chunk("flaky", retry=Retry(2, initial_interval=1))
    async def flaky(data: Data) -> Any:
        if data.attempt == 1:
            await first(data)
            raise ConnectionError("the first attempt fails")
        return await second(data)

    async def hear(data: Data) -> None:
        heard.append(data.value)

    flow.to(flaky).end()
    for name in listens:
        flow.when({"runtime_data": name.removeprefix("state:")} if ":" in name else name).to((f"hear {name}", hear))
    execution = flow.create_execution()
    items = [item async for item in execution.get_async_runtime_stream(None)]
    return await execution.async_get_result(), items, heard, dict(execution.state.to_dict())


@pytest.mark.parametrize("way", ["async", "sync"])
async def test_signals_and_items_with_other_values_count(way: str) -> None:
    async def does(data: Data, *values: Any) -> None:
        for value in values:
            if way == "async":
                await data.async_emit("go", value)
                await data.async_put_into_stream(value)
            else:
                data.emit("go", value)
                data.put_into_stream(value)

    _, items, heard, _ = await twice(
        lambda data: does(data, "Hel", "lo"), lambda data: does(data, "Bon", "lo", "lo"), "go"
    )
    assert items == heard == ["Hel", "lo", "Bon", "lo"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({1, 2}, {2, 1}, True),
        ((1, 2), [1, 2], False),
        (1, True, False),
        (1, 1.0, False),
        pytest.param(Note("a"), Note("a"), True, marks=IN_MEMORY),
        pytest.param([Note("a")], [Note("b")], False, marks=IN_MEMORY),
        (None, 0, False),
        ("a" * 100_000, "a" * 100_000, True),
    ],
)
async def test_which_values_are_equal(one: Any, other: Any, same: bool) -> None:
    _, items, _, _ = await twice(
        lambda data: data.async_put_into_stream(one), lambda data: data.async_put_into_stream(other)
    )
    assert items == ([one] if same else [one, other])


async def test_delay_and_provisional_make_another_signal() -> None:
    async def first(data: Data) -> None:
        await data.async_emit("go", 1)
        await data.async_emit("later", 1, delay=5)

    async def second(data: Data) -> None:
        await data.async_emit("go", 1, delay=1)
        await data.async_emit("later", 1, delay=5)
        await data.async_emit("later", 1, delay=6)

    _, _, heard, _ = await twice(first, second, "go", "later")
    assert heard == [1] * 4


async def test_a_provisional_signal_that_was_retracted_is_emitted_again() -> None:
    async def first(data: Data) -> None:
        number = await data.async_emit("go", "a", provisional=True)
        await data.async_retract(number, "the response was cut off")

    async def second(data: Data) -> None:
        number = await data.async_emit("go", "a", provisional=True)
        assert number > 0
        await data.async_confirm(number)

    _, items, heard, _ = await twice(first, second, "go")
    assert heard[-1:] == ["a"]
    assert [item["type"] for item in items] == ["retraction"]


async def test_the_last_write_of_the_last_attempt_counts() -> None:
    async def first(data: Data) -> None:
        data.state.set("token", "A")
        data.state.set("token", "B")

    async def second(data: Data) -> Any:
        data.state.set("token", "A")
        return data.state.get("token"), data.state["token"], "token" in data.state

    value, _, heard, state = await twice(first, second, "state:token")
    assert value == ("A", "A", True)
    assert state == {"token": "A"}
    assert heard == ["A", "B", "A"]


async def test_the_same_writes_are_not_repeated() -> None:
    async def does(data: Data) -> Any:
        seen: list[Any] = []
        for step in range(4):
            data.state.set("step", step)
            seen.append(data.state.get("step"))
        data.state.set("log", [])
        data.state.append("log", "a")
        data.state.append("log", "b")
        data.state.delete("step")
        return seen, data.state.get("log"), data.state.get("step", "gone")

    value, _, heard, state = await twice(does, does, "state:step")
    assert value == ([0, 1, 2, 3], ["a", "b"], "gone")
    assert (heard, state) == ([0, 1, 2, 3, None], {"log": ["a", "b"]})


async def test_appends_and_deletes_with_other_values_count() -> None:
    async def first(data: Data) -> None:
        data.state.append("log", "a")
        data.state.append("log", "b")
        data.state.delete("log")
        data.state.append("log", "c")

    async def second(data: Data) -> Any:
        data.state.append("log", "c")
        data.state.append("log", "d")
        return data.state.get("log")

    value, _, _, state = await twice(first, second)
    assert value == state["log"] == ["c", "d"]


async def test_updates_by_another_function_count() -> None:
    def add(data: Data, amount: int) -> Any:
        return data.state.update("sum", lambda held: held + amount, 0)

    async def first(data: Data) -> None:
        add(data, 1)

    async def second(data: Data) -> Any:
        add(data, 1)
        return add(data, 5)

    value, _, _, state = await twice(first, second)
    assert (value, state) == (6, {"sum": 6})


async def test_a_result_of_a_failed_attempt_is_replaced() -> None:
    async def second(data: Data) -> None:
        data.set_result("right")
        data.set_result("ignored")

    flow = TriggerFlow()

    @flow.chunk("flaky", retry=Retry(2, initial_interval=1))
    async def flaky(data: Data) -> None:
        if data.attempt == 1:
            data.set_result("wrong")
            raise ConnectionError
        await second(data)

    flow.to(flaky)
    assert await flow.async_start() == "right"


async def test_the_result_of_another_chunk_is_not_replaced() -> None:
    flow = TriggerFlow()

    @flow.chunk("flaky", retry=Retry(2, initial_interval=1))
    async def flaky(data: Data) -> None:
        data.set_result(f"late {data.attempt}")
        if data.attempt == 1:
            raise ConnectionError

    async def early(data: Data) -> None:
        data.set_result("early")

    flow.to(("early", early)).to(flaky)
    assert await flow.async_start() == "early"


async def test_data_of_the_flow_with_other_values_counts() -> None:
    flow, heard = TriggerFlow("shared"), list[Any]()

    @flow.chunk("flaky", retry=Retry(2, initial_interval=1))
    async def flaky(data: Data) -> Any:
        data.flow_state.append("log", "same")
        data.flow_state.set("token", data.attempt)
        if data.attempt == 1:
            raise ConnectionError
        return data.flow_state.get("log"), data.flow_state.get("token")

    async def hear(data: Data) -> None:
        heard.append(data.value)

    flow.to(flaky).end()
    flow.when({"flow_data": "log"}).to(("log", hear))
    flow.when({"flow_data": "token"}).to(("token", hear))
    assert await flow.async_start() == (["same"], 2)
    assert heard == [["same"], 1, 2]


async def test_three_attempts_remember_all_before() -> None:
    flow = TriggerFlow()

    @flow.chunk("flaky", retry=Retry(3, initial_interval=1))
    async def flaky(data: Data) -> None:
        await data.async_put_into_stream("always")
        await data.async_put_into_stream(data.attempt % 2)
        if data.attempt < 3:
            raise ConnectionError

    flow.to(flaky)
    assert [item async for item in flow.get_async_runtime_stream()] == ["always", 1, 0]
