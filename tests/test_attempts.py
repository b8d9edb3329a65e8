"""What a repeated attempt of a chunk does counts, unless a failed attempt has done the same; decision 0022."""

import functools
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

    def add(self, value: Any) -> str:
        return (value or "") + self.text


class Counter:
    """A callable object that cannot be recorded, and a method of it."""

    def __init__(self, step: int, lock: Any = None) -> None:
        self.step = step
        self.lock = lock

    def add(self, value: Any) -> int:
        return (value or 0) + self.step

    def __call__(self, value: Any) -> int:
        return self.add(value)


def enclosing(step: int) -> Callable[[Any], Any]:
    return lambda value: (value or 0) + step


def with_default(step: int) -> Callable[[Any], Any]:
    def add(value: Any, *, by: int = step) -> int:
        return (value or 0) + by

    return add


def recursive(step: int) -> Callable[[Any], Any]:
    def total(value: Any) -> int:
        return (value or 0) + step if not value or value > 0 else total(-value)

    return total


def mutually_recursive(step: int) -> Callable[[Any], Any]:
    def one(value: Any) -> int:
        return (value or 0) + step if not value or value > 0 else other(value)

    def other(value: Any) -> int:
        return one(-value)

    return one


def with_surrogate(step: int) -> Callable[[Any], Any]:
    return lambda value: (value or 0) + step + len("\ud800") - 1


def by_object(step: int) -> Callable[[Any], Any]:
    return Counter(step)


def by_method(step: int) -> Callable[[Any], Any]:
    return Counter(step).add


def by_partial(step: int) -> Callable[[Any], Any]:
    return functools.partial(operator_add, step=step)


def by_cached(step: int) -> Callable[[Any], Any]:
    return functools.cache(enclosing(step))


def operator_add(value: Any, step: int) -> int:
    return (value or 0) + step


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


OPERATIONS = [
    enclosing, with_default, recursive, mutually_recursive, with_surrogate, by_object, by_method, by_partial, by_cached,
]  # fmt: skip


@pytest.mark.parametrize("make", OPERATIONS)
async def test_the_same_change_of_a_key_counts_once_and_another_one_counts(make: Callable[[int], Any]) -> None:
    async def does(data: Data, step: int) -> Any:
        data.state.update("sum", make(step))
        return data.state.get("sum")

    assert (await twice(lambda data: does(data, 1), lambda data: does(data, 1)))[0] == 1
    assert (await twice(lambda data: does(data, 1), lambda data: does(data, 10)))[0] == 11


@pytest.mark.parametrize(
    ("one", "other", "total"),
    [
        (Note("a").add, Note("a").add, "a"),
        (Note("a").add, Note("b").add, "ab"),
        (str, str, "None"),
        (Counter(1, object()), Counter(1, object()), 2),  # it cannot be recorded, so it is unlike every one
        (Counter(1, object()).add, Counter(1, object()).add, 1),  # what a function encloses counts by its class
    ],
)
async def test_operations_of_objects(one: Any, other: Any, total: Any) -> None:
    async def does(data: Data, function: Any) -> Any:
        data.state.update("sum", function)
        return data.state.get("sum")

    assert (await twice(lambda data: does(data, one), lambda data: does(data, other)))[0] == total


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
