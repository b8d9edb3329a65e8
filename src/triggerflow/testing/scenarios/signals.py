"""Scenarios with signals, state and the stream."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from ...build.typed import append, maximum
from ...flow import TriggerFlow
from .scenario import Outside, echo, scenario


@scenario(value="go", result="done", stream=("first", "a", "b", "after"), ordered=False, state={"a": "go", "b": "go"})
def emit(flow: TriggerFlow) -> None:
    """A chunk emits several signals between other effects; the chunks that these start run concurrently."""

    async def source(data: Any) -> str:
        await data.async_put_into_stream("first")
        await data.async_emit("a", data.value)
        data.emit("b", data.value)
        await data.async_put_into_stream("after")
        return "done"

    async def note(data: Any) -> None:
        data.state.set(data.trigger_event, data.value, emit=False)
        await data.async_put_into_stream(data.trigger_event)

    flow.to(source).end()
    flow.when("a").to(("note a", note))
    flow.when("b").to(("note b", note))


@scenario(value=3, result=[0, 1, 2], stream=(0, "settled 0", 1, "settled 1", 2, "settled 2"))
def settle(flow: TriggerFlow) -> None:
    """An emitter waits until all work that its signal caused has settled, under a concurrency limit of one."""

    async def source(data: Any) -> Any:
        for number in range(data.value):
            await data.async_emit("work", number, settle=True)
            await data.async_put_into_stream(f"settled {number}")
        return data.state.get("done")

    async def work(data: Any) -> int:
        await asyncio.sleep(1)
        await data.async_put_into_stream(data.value)
        return data.value

    async def after(data: Any) -> None:
        data.state.append("done", data.value)

    flow.to(source).end()
    flow.when("work").to(work).to(after)


SCENARIO_OF_ONE = {"concurrency": 1}


@scenario(value=2, options=SCENARIO_OF_ONE, result="end", stream=("inner 0", "inner 1", "outer"))
def one_permit(flow: TriggerFlow) -> None:
    """A concurrency limit of one: a chunk that waits for its signals returns its permit."""

    async def outer(data: Any) -> str:
        for number in range(data.value):
            await data.async_emit("inner", number, settle=True)
        await data.async_put_into_stream("outer")
        return "end"

    async def inner(data: Any) -> None:
        await data.async_put_into_stream(f"inner {data.value}")

    flow.to(outer).end()
    flow.when("inner").to(inner)


@scenario(value="x", result="late x", stream=("now", "late x"))
def delay(flow: TriggerFlow) -> None:
    """A signal with a delay."""

    async def source(data: Any) -> None:
        await data.async_emit("later", f"late {data.value}", delay=30)
        await data.async_put_into_stream("now")

    async def late(data: Any) -> str:
        await data.async_put_into_stream(data.value)
        return data.value

    flow.to(source)
    flow.when("later").to(late).end()


@scenario(value="x", result="x", stream=("tick", "tock"))
def timers(flow: TriggerFlow) -> None:
    """Two timers, relative to the start."""

    async def note(data: Any) -> Any:
        await data.async_put_into_stream(data.chunk_name)
        return data.value

    flow.when({"timer": 5}).to(("tick", note))
    flow.when({"timer": 60}).to(("tock", note)).end()


@scenario(value=4, result=[[0, 10], [1, 11], [2, 12], [3, 13]], ordered=False)
def joins(flow: TriggerFlow) -> None:
    """A `when` waits for two signals: each complete pair starts the next chunk once."""

    async def left(data: Any) -> None:
        for number in range(data.value):
            await data.async_emit("left", number, settle=True)
            await data.async_emit("right", 10 + number, settle=True)

    async def both(data: Any) -> None:
        pair = [value for kind in data.value.values() for value in kind.values()]
        data.state.append("pairs", sorted(pair))

    async def done(data: Any) -> Any:
        return data.state.get("pairs")

    flow.to(("left source", left)).to(done).end()
    flow.when({"event": ["left", "right"]}).to(both)


@dataclass
class Tally:
    """The declared state of `reducers`."""

    found: list[Any] = field(default_factory=list[Any])
    best: int = 0


@scenario(value=[3, 9, 5], result=9, state={"best": 9}, stream=(3, 9, 5), ordered=False)
def reducers(flow: TriggerFlow) -> None:
    """Declared state, combined by reducers from concurrent branches."""
    flow.set_state(Tally, reducers={"found": append, "best": maximum})

    async def score(data: Any) -> None:
        await asyncio.sleep(data.value / 10)
        data.state.reduce("found", data.value)
        data.state.reduce("best", data.value)

    async def tell(data: Any) -> None:
        await data.async_put_into_stream(data.value[-1])

    async def best(data: Any) -> Any:
        assert sorted(data.state.get("found")) == [3, 5, 9]
        return data.state.get("best")

    flow.for_each().to(score).end_for_each().to(best).end()
    flow.when({"runtime_data": "found"}).to(tell)


@scenario(value="q", result="sure", stream=("guess begun", ["retraction", "wrong"], "sure"), state={"kept": "sure"})
def provisional(flow: TriggerFlow) -> None:
    """A provisional signal is retracted, with the work that it started; a second one is confirmed."""

    async def source(data: Any) -> None:
        guess = await data.async_emit("guess", "perhaps", provisional=True)
        await asyncio.sleep(1)
        await data.async_retract(guess, "wrong")
        sure = await data.async_emit("known", "sure", provisional=True)
        await data.async_confirm(sure)

    async def work(data: Any) -> None:
        await data.async_put_into_stream("guess begun")
        await asyncio.sleep(1000)
        data.state.set("kept", data.value)

    async def keep(data: Any) -> Any:
        await data.async_put_into_stream(data.value)
        data.state.set("kept", data.value)
        return data.value

    flow.to(source)
    flow.when("guess").to(work)
    flow.when("known").to(keep).end()


@scenario(value="x", result="x", stream=("one", "two"), state={"after": True})
def stop_stream(flow: TriggerFlow) -> None:
    """The stream ends before the execution does."""

    async def source(data: Any) -> Any:
        await data.async_put_into_stream("one")
        data.put_into_stream("two")
        await data.async_stop_stream()
        return data.value

    async def after(data: Any) -> Any:
        await asyncio.sleep(1)
        data.state.set("after", True)
        return data.value

    flow.to(source).to(after).end()


async def _send_two(outside: Outside) -> None:
    await outside.signal("hello", 1, mark="hello")
    await outside.signal("bye", 2, mark="bye")


@scenario(outside=_send_two, result=[1, 2], stream=("hello 1", "bye 2"), state={"hello": 1, "bye": 2})
def signals_from_outside(flow: TriggerFlow) -> None:
    """An execution waits for external events."""

    async def note(data: Any) -> None:
        data.state.set(data.trigger_event, data.value)
        await data.async_put_into_stream(f"{data.trigger_event} {data.value}")

    async def leave(data: Any) -> Any:
        await note(data)
        return [data.state.get("hello"), data.state.get("bye")]

    flow.to(echo)
    flow.when(flow.signal("hello", external=True)).to(note)
    flow.when(flow.signal("bye", external=True)).to(leave).end()


@scenario(
    value=2,
    result=[["new", 2, 2], "set", None],
    stream=("heard [2]", "heard [2, 2]", "heard ['new']", "heard ['new', 2]", "heard ['new', 2, 2]"),
    ordered=False,
)
def shared_data(flow: TriggerFlow) -> None:
    """A chunk changes the data that all executions share, and another one listens to it."""

    async def source(data: Any) -> Any:
        data.flow_state.append("log", data.value)
        await asyncio.sleep(1)
        data.flow_state.append("log", data.value)
        await data.flow_state.async_set("quiet", "set", emit=False)
        await data.flow_state.async_set("gone", "soon")
        return data.value

    async def more(data: Any) -> Any:
        await data.flow_state.async_set("log", ["new"])
        await data.flow_state.async_delete("gone")
        await asyncio.sleep(1)
        data.flow_state.append("log", data.value)
        data.flow_state.append("log", data.value)
        return [list(data.flow_state.get("log")), data.flow_state.get("quiet"), data.flow_state.get("gone")]

    async def heard(data: Any) -> None:
        await data.async_put_into_stream(f"heard {list(data.value)}")

    flow.to(source).to(more).end()
    flow.when({"flow_data": "log"}).to(heard)
