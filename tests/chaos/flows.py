"""The flow of the chaos test, and what each of its executions must have done in the end, whatever has happened."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]

#: How many items the lazy source of each execution has.
ITEMS = 5
NAME = "chaos"


def answer_to(number: int) -> int:
    """The answer of the harness to the question of execution `number`."""
    return number * 10 + 1


def result_of(number: int) -> dict[str, Any]:
    """The result of execution `number`."""
    return {
        "number": number,
        "squares": [(number + index) ** 2 for index in range(ITEMS)],
        "answer": answer_to(number),
        "seen": list(range(ITEMS)),
        "turns": 3,
    }


def stream_of(number: int) -> list[str]:
    """The items of the runtime stream of execution `number`, sorted; without those of the question."""
    words = ["begun", "asked", "answered", "rested", "finished", *(f"square {index}" for index in range(ITEMS))]
    return sorted(f"{number}: {word}" for word in words)


def make() -> TriggerFlow:
    """A lazy source, chunks that fail once, a question in a sub-flow, a timer, and signals."""
    flow, asking = TriggerFlow(name=NAME), TriggerFlow(name="asking")

    async def put(data: Data, number: int, word: str) -> None:
        await data.async_put_into_stream(f"{number}: {word}")

    @flow.source
    async def numbers(count: int) -> AsyncIterator[int]:
        for index in range(count):
            await asyncio.sleep(0.002)
            yield index

    @flow.chunk("begin")
    async def begin(data: Data) -> Any:
        await data.state.async_set("number", data.value)
        await put(data, data.value, "begun")
        return numbers(ITEMS)

    @flow.chunk("square", retry=Retry(2, initial_interval=0.05))
    async def square(data: Data) -> Any:
        number, index = data.state.get("number"), data.value
        await data.state.async_append("seen", index)
        await put(data, number, f"square {index}")
        await asyncio.sleep(0.005)
        if data.attempt == 1 and (number + index) % 4 == 0:
            raise ConnectionError("once")
        return (number + index) ** 2

    @flow.chunk("squares")
    async def squares(data: Data) -> Any:
        await data.state.async_set("squares", data.value)
        return data.state.get("number")

    @asking.chunk("ask")
    async def ask(data: Data) -> None:
        await put(data, data.value, "asked")
        data.pause_for(interrupt_id="question", payload=data.value)

    @asking.chunk("use")
    async def use(data: Data) -> Any:
        await asyncio.sleep(0.002)
        return data.value

    @flow.chunk("answered")
    async def answered(data: Data) -> None:
        number = data.state.get("number")
        await put(data, number, "answered")
        await data.state.async_set("answer", data.value)
        for _ in range(3):
            await data.async_emit("turn", number, settle=True)
        await data.async_emit("rested", number, delay=0.2)

    @flow.chunk("turn")
    async def turn(data: Data) -> None:
        await data.state.async_append("turns", 1)

    @flow.chunk("rest")
    async def rest(data: Data) -> None:
        await put(data, data.value, "rested")
        await data.async_emit("finish", data.value, delay=1.5)

    @flow.chunk("finish")
    async def finish(data: Data) -> Any:
        await put(data, data.value, "finished")
        state = data.state.to_dict()
        return {
            "number": state["number"],
            "squares": state["squares"],
            "answer": state["answer"],
            "seen": sorted(state["seen"]),
            "turns": len(state["turns"]),
        }

    asking.to(ask).to(use).end()
    flow.to(begin).for_each(concurrency=2).to(square).end_for_each().to(squares).to_sub_flow(asking, name="asking").to(
        answered
    )
    flow.when("turn").to(turn)
    flow.when("rested").to(rest)
    flow.when("finish").to(finish).end()
    return flow
