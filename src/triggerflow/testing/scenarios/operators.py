"""Scenarios with every operator, alone and inside others."""

import asyncio
from collections.abc import Callable
from typing import Any

from ...flow import TriggerFlow
from .scenario import echo, give, one_more, scenario


@scenario(value=1, result=4, stream=(1, 2, 3), state={"sum": 6, "seen": [1, 2, 3]})
def chain(flow: TriggerFlow) -> None:
    """Each step puts, sets, appends and returns."""

    async def step(data: Any) -> int:
        await data.async_put_into_stream(data.value)
        data.state.set("sum", data.state.get("sum", 0) + data.value)
        data.state.append("seen", data.value)
        return data.value + 1

    flow.to(("one", step)).to(("two", step)).to(("three", step)).end()


@scenario(value=2, result={"double": 4, "square": 4, "slow": 2}, state={"double": 4, "square": 4, "slow": 2})
def batch(flow: TriggerFlow) -> None:
    """Three branches, one of them slow, under a concurrency limit."""

    def branch(name: str, seconds: float, change: Callable[[int], int]) -> Any:
        async def work(data: Any) -> Any:
            await asyncio.sleep(seconds)
            value = change(data.value)
            data.state.set(name, value)
            return value

        return name, work

    flow.batch(
        branch("double", 0, lambda value: value * 2),
        branch("square", 1, lambda value: value**2),
        branch("slow", 2, lambda value: value),
        concurrency=2,
    ).end()


@scenario(value=[1, 2, 3, 4, 5], result=[10, 20, 30, 40, 50], stream=(1, 2, 3, 4, 5), ordered=False)
def for_each(flow: TriggerFlow) -> None:
    """Items, two of them at a time."""

    async def ten(data: Any) -> int:
        await asyncio.sleep(data.value % 2)
        await data.async_put_into_stream(data.value)
        return data.value * 10

    flow.for_each(concurrency=2).to(ten).end_for_each().end()


@scenario(value=[[1, 2], [], [3]], result=[[2, 4], [], [6]], state={"inner": 3})
def for_each_nested(flow: TriggerFlow) -> None:
    """A for_each in a for_each. One of the inner lists is empty; a counter has to count every item."""

    async def double(data: Any) -> int:
        data.state.update("inner", one_more, 0)
        return data.value * 2

    flow.for_each(concurrency=2).for_each(concurrency=1).to(double).end_for_each().end_for_each().end()


@scenario(value=7, result=[0, 10, 20, 30, 40, 50, 60], stream=(0, 1, 2, 3, 4, 5, 6), ordered=False)
def for_each_lazy(flow: TriggerFlow) -> None:
    """A lazy source is read only as far as the limit allows. After a crash it is read from its first item again."""

    @flow.source
    def numbers(count: int) -> Any:
        yield from range(count)

    async def source(data: Any) -> Any:
        return numbers(data.value)

    async def ten(data: Any) -> int:
        await asyncio.sleep(1)
        await data.async_put_into_stream(data.value)
        return data.value * 10

    flow.to(source).for_each(concurrency=2).to(ten).end_for_each().end()


@scenario(value=5, result=[0, 1, 2, 3, 4])
def for_each_async(flow: TriggerFlow) -> None:
    """An async source with slow items."""

    @flow.source
    async def numbers(count: int) -> Any:
        for number in range(count):
            await asyncio.sleep(0.5)
            yield number

    async def source(data: Any) -> Any:
        return numbers(data.value)

    flow.to(source).for_each(concurrency=2).to(echo).end_for_each().end()


@scenario(value=[1, 2, 3, "x"], result=["odd", "even", "odd", "other"], stream=("odd", "even", "odd"), ordered=False)
def match(flow: TriggerFlow) -> None:
    """Each item takes the first case that holds; conditions are async, and may have effects."""

    def put(name: str) -> Any:
        async def chosen(data: Any) -> str:
            await data.async_put_into_stream(name)
            return name

        return name, chosen

    async def is_odd(data: Any) -> bool:
        await asyncio.sleep(0)
        return isinstance(data.value, int) and data.value % 2 == 1

    process = flow.for_each().match().case(is_odd).to(put("odd")).case(2).to(put("even"))
    process.case_else().to(give("other")).end_match().end_for_each().end()


@scenario(value=6, result=["two", "three"])
def match_all(flow: TriggerFlow) -> None:
    """All cases that hold are taken, in their order."""

    def divides(number: int) -> Any:
        async def is_divided(data: Any) -> bool:
            return data.value % number == 0

        return is_divided

    process = flow.match(mode="hit_all").case(divides(2)).to(give("two"))
    process = process.case(divides(3)).to(give("three"))
    process.case(divides(5)).to(give("five")).end_match().end()


@scenario(value="go", result={"left": "go left", "right": "go right"})
def collect(flow: TriggerFlow) -> None:
    """Two chains that join by name."""

    async def side(data: Any) -> str:
        await asyncio.sleep(len(data.chunk_name) / 10)
        return f"{data.value} {data.chunk_name}"

    start = flow.to(echo)
    start.to(("left", side)).collect("both", "left")
    start.to(("right", side)).collect("both", "right").end()


@scenario(value=0, result=5, stream=(0, 1, 2, 3, 4), state={"turns": [0, 1, 2, 3, 4]})
def loop(flow: TriggerFlow) -> None:
    """A chunk starts itself again by a signal, until a condition holds."""

    async def turn(data: Any) -> Any:
        await data.async_put_into_stream(data.value)
        data.state.append("turns", data.value)
        if data.value < 4:
            await data.async_emit("again", data.value + 1)
        else:
            await data.async_set_result(data.value + 1)

    flow.to(("begin", turn))
    flow.when("again").to(("turn", turn))


@scenario(value=[3, 1, 2], result=[9, 1, 4], state={"beside": 6})
def blocks_in_blocks(flow: TriggerFlow) -> None:
    """A batch and a match in a for_each, and a side branch."""

    async def total(data: Any) -> None:
        data.state.set("beside", sum(data.value))

    async def times(data: Any) -> int:
        return data.value["one"] * data.value["other"]

    async def is_large(data: Any) -> bool:
        return data.value > 100

    start = flow.side_branch(total).for_each(concurrency=2).batch(("one", echo), ("other", echo)).to(times)
    start.match().case(is_large).to(("never", echo)).case_else().to(("small", echo)).end_match(
    ).end_for_each().end()  # fmt: skip


@scenario(value=0, result=40, state={"size": 40 * 2000})
def large_values(flow: TriggerFlow) -> None:
    """A conversation that grows by large messages: its parts are payloads of their own."""

    async def turn(data: Any) -> Any:
        for number in range(data.value, data.value + 10):
            data.state.append("text", f"{number:04}" * 500)
        if data.value < 30:
            return await data.async_emit("again", data.value + 10)
        text = data.state.get("text")
        data.state.set("size", sum(len(message) for message in text))
        return await data.async_set_result(len(text))

    flow.to(("begin", turn))
    flow.when("again").to(("turn", turn))
