"""The flow that is killed, and what it has to come to: every operator that a crash can cut in two.

An execution goes through `rounds` rounds. A round emits signals from a chunk that fails at first, runs a batch and a
for_each, and ends in a question, a timer or a sub-flow, which may ask as well. All of it follows from the start value,
so that `Expected` tells by plain Python what the records must hold.
"""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.build.typed import append, maximum

Data = TriggerFlowRuntimeData[Any]

#: How a round ends, by turns.
ENDS = ("ask", "rest", "child", "turn")
#: A text that makes the state large enough to be kept in parts.
PAGE = "lorem ipsum " * 60


@dataclass
class Book:
    """The state of an execution."""

    n: int = 0
    peak: Annotated[int | None, maximum] = None
    laps: Annotated[list[list[int]], append] = field(default_factory=list)
    parts: Annotated[list[list[int]], append] = field(default_factory=list)
    answers: Annotated[list[int], append] = field(default_factory=list)
    notes: Annotated[list[str], append] = field(default_factory=list)
    pages: Annotated[list[str], append] = field(default_factory=list)


class Flaky(Exception):
    """A failure that the next attempt does not have."""


def nonce() -> str:
    """What no repetition gives again: a model's answer, say. What was seen of it must be what is kept."""
    return os.urandom(4).hex()


def items_of(round: int) -> list[int]:
    """What the for_each of a round goes through."""
    return list(range(3 + round % 3))


def end_of(n: int, round: int) -> str:
    """How this round ends."""
    return ENDS[(n + round) % len(ENDS)]


def asks(n: int, round: int) -> bool:
    """Whether this round asks the outside."""
    return end_of(n, round) == "ask" or (end_of(n, round) == "child" and round % 2 == 0)


def answer_to(payload: Any) -> int:
    """What the outside answers."""
    return 10 * int(payload)


def child_flow() -> TriggerFlow:
    """The sub-flow: asks in every second round."""
    child = TriggerFlow(name="child")

    @child.chunk("look")
    async def look(data: Data) -> int:
        await data.async_put_into_stream({"looked": data.value, "nonce": nonce()})
        await asyncio.sleep(0.002)
        if data.value % 2 == 0:
            data.pause_for(payload=data.value)
        return answer_to(data.value)

    @child.chunk("seal")
    async def seal(data: Data) -> int:
        await data.state.async_set("sealed", data.value)
        return data.value

    child.to(look).to(seal).end()
    return child


def work_flow(rounds: int, pace: float = 0.004) -> TriggerFlow:
    """The flow; `pace` is about how long a chunk takes, in seconds."""
    flow = TriggerFlow(name="work")
    flow.set_state(Book)

    @flow.chunk("open")
    async def begin(data: Data) -> None:
        await data.state.async_set("n", data.value)
        await data.async_put_into_stream({"opened": data.value})
        await data.async_emit("round", 0)

    @flow.chunk("plan", retry=Retry(1000, initial_interval=0.01, backoff_coefficient=1))
    async def plan(data: Data) -> int:
        n, round = data.state.get("n"), data.value
        await data.async_put_into_stream({"round": round, "nonce": nonce()})
        for part in range(3):
            await data.async_emit("part", [round, part], settle=part == 2)
        data.state.reduce("pages", f"{round} {nonce()}: {PAGE}")
        await asyncio.sleep(pace)
        if data.attempt == 1 and (n + round) % 3 == 0:
            raise Flaky
        return round

    @flow.chunk("left")
    async def left(data: Data) -> int:
        await asyncio.sleep(pace / 2)
        data.state.reduce("peak", data.value)
        return data.value + 1

    @flow.chunk("right")
    async def right(data: Data) -> int:
        await asyncio.sleep(pace)
        return data.value * 2

    @flow.chunk("spread")
    async def spread(data: Data) -> list[list[int]]:
        round = data.value["left"] - 1
        assert data.value == {"left": round + 1, "right": round * 2}, data.value
        return [[round, item] for item in items_of(round)]

    @flow.chunk("item")
    async def item(data: Data) -> list[int]:
        round, item = data.value
        await data.async_put_into_stream({"item": data.value, "nonce": nonce()})
        await asyncio.sleep(pace / 2)
        return [round, item + 1]

    @flow.chunk("double")
    async def double(data: Data) -> list[int]:
        round, item = data.value
        return [round, item * 2]

    @flow.chunk("sum")
    async def summed(data: Data) -> None:
        round = data.value[0][0]
        data.state.reduce("laps", [round, sum(item for _, item in data.value)])
        await data.async_emit(end_of(data.state.get("n"), round), round)

    @flow.chunk("question")
    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id=f"ask-{data.value}", payload=data.value)

    @flow.chunk("sleep")
    async def rest(data: Data) -> None:
        await data.async_emit("turn", data.value, delay=0.05 + 0.01 * (data.value % 20))

    @flow.chunk("time")
    async def time(data: Data) -> int:
        return answer_to(data.value)

    @flow.chunk("turned")
    async def turned(data: Data) -> None:
        data.state.reduce("answers", data.value)
        round = data.value // 10
        await data.async_emit("round" if round + 1 < rounds else "finish", round + 1)

    @flow.chunk("report")
    async def finish(data: Data) -> dict[str, Any]:
        state = data.state
        pages = len(state.get("pages"))
        return {"n": state.get("n"), "laps": state.get("laps"), "answers": state.get("answers"), "pages": pages}

    @flow.chunk("counted")
    async def part(data: Data) -> None:
        data.state.reduce("parts", data.value)
        await asyncio.sleep(pace / 4)
        await data.async_put_into_stream({"part": data.value, "nonce": nonce()})

    @flow.chunk("noted")
    async def note(data: Data) -> None:
        data.state.reduce("notes", data.value)
        await data.async_put_into_stream({"note": data.value, "nonce": nonce()})

    flow.to(begin)
    flow.when("round").to(plan).batch(left, right).to(spread).for_each(concurrency=2).to(item).to(
        double
    ).end_for_each().to(summed)
    flow.when("ask").to(ask).to(turned)
    flow.when("rest").to(rest)
    flow.when("turn").to(time).to(turned)
    flow.when("child").to_sub_flow(child_flow(), name="inner").to(turned)
    flow.when("finish").to(finish).end()
    flow.when("part").to(part)
    flow.when(flow.signal("note", external=True)).to(note)
    return flow


class Expected:
    """What the records of the execution started with `n` have to hold, notes from outside aside."""

    def __init__(self, n: int, rounds: int, failures: int = 0) -> None:
        """`failures`: how many attempts of `plan` have failed. What they wrote has a nonce, and so has what the next
        ones wrote: both are recorded."""
        turns = range(rounds)
        ends = [end_of(n, round) for round in turns]
        self.answers = sum(asks(n, round) for round in turns)
        self.result: dict[str, Any] = {
            "n": n,
            "laps": [[round, sum(2 * (item + 1) for item in items_of(round))] for round in turns],
            "answers": [answer_to(round) for round in turns],
            "pages": rounds + failures,
        }
        self.parts = sorted([round, part] for round in turns for part in range(3))
        #: signals by name, as chunks emit them
        self.emitted = Counter({"round": rounds, "part": 3 * rounds, "finish": 1}) + Counter(ends)
        #: resting ends in the same signal as turning at once
        self.emitted["turn"] += ends.count("rest")
        #: changes of state by key; the defaults are changes too
        self.changed = Counter(n=2, peak=rounds + 1, laps=rounds + 1, parts=3 * rounds + 1, answers=rounds + 1)
        self.changed += Counter(notes=1, pages=rounds + failures + 1)
        #: stream items by kind
        self.items = Counter(opened=1, round=rounds + failures, part=3 * rounds, looked=ends.count("child"))
        self.items["type"] = 2 * self.answers  # every question is told when it opens and when it is answered
        self.items["item"] = sum(len(items_of(round)) for round in turns)
        self.children = ends.count("child")
