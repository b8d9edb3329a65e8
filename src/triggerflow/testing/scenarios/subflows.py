"""Scenarios with sub-flows."""

import asyncio
from typing import Any

from ...flow import TriggerFlow
from .scenario import Outside, call, echo, scenario


def _child(name: str = "child") -> TriggerFlow:
    child = TriggerFlow(name=name)

    async def work(data: Any) -> Any:
        await data.async_put_into_stream(f"{name} of {data.value}")
        await asyncio.sleep(1)
        data.state.set("seen", data.value)
        return data.value * 2

    child.to(("first", work)).to(("second", work)).end()
    return child


@scenario(value=1, result=5, stream=("child of 1", "child of 2", "parent 4"))
def sub_flow(flow: TriggerFlow) -> None:
    """The items of a sub-flow arrive in its parent's stream; the next step of the parent gets its result."""

    async def after(data: Any) -> int:
        await data.async_put_into_stream(f"parent {data.value}")
        return data.value + 1

    flow.to_sub_flow(_child()).to(after).end()


@scenario(
    value={"topic": "sun", "by": 3},
    result="sun sun sun in en",
    state={"lang": "en", "answer": "sun sun sun in en"},
)
def sub_flow_data(flow: TriggerFlow) -> None:
    """A sub-flow gets data from its parent, and writes data back."""
    child = TriggerFlow(name="writer")

    async def write(data: Any) -> str:
        data.state.set("times", data.state.get("times") + 1)
        return " ".join([data.value] * data.state.get("times")) + " in " + data.state.get("lang")

    async def prepare(data: Any) -> Any:
        data.state.set("lang", "en")
        return {**data.value, "by": data.value["by"] - 1}

    child.to(write).end()
    flow.to(prepare).to_sub_flow(
        child,
        capture={
            "input": "value.topic",
            "runtime_data": {"lang": "runtime_data.lang", "times": "value.by"},
        },
        write_back={"value": "result", "runtime_data": {"answer": "result"}},
    ).end()


_ASKED = ("asking", ["pause", "asker.1/interrupt-1"], ["resume", "asker.1/interrupt-1"], "got ok")


async def _ok(outside: Outside) -> None:
    await outside.until(lambda: outside.execution.get_interrupts())
    await outside.answer(next(iter(outside.execution.get_interrupts())), "ok")


@scenario(value="text", outside=_ok, result="text is ok", stream=_ASKED)
def pause_in_sub_flow(flow: TriggerFlow) -> None:
    """The interrupt of a sub-flow appears in the parent execution as well. The caller answers it through the parent."""
    child = TriggerFlow(name="asker")

    async def ask(data: Any) -> None:
        data.state.set("text", data.value)
        await data.async_put_into_stream("asking")
        data.pause_for(payload=data.value)

    async def take(data: Any) -> str:
        await data.async_put_into_stream(f"got {data.value}")
        return f"{data.state.get('text')} is {data.value}"

    child.to(ask).to(take).end()
    flow.to_sub_flow(child).end()


@scenario(
    value=[1, 2, 3],
    options={"concurrency": 2},
    result=[4, 8, 12],
    stream=("child of 1", "child of 2", "child of 2", "child of 3", "child of 4", "child of 6"),
    ordered=False,
)
def sub_flows_in_for_each(flow: TriggerFlow) -> None:
    """Several sub-flows run at once, within the concurrency limit of their parent."""
    flow.for_each().to_sub_flow(_child()).end_for_each().end()


@scenario(
    value=1,
    result=16,
    stream=("inner of 1", "inner of 2", "inner of 4", "inner of 8"),
)
def sub_flow_of_sub_flow(flow: TriggerFlow) -> None:
    """A sub-flow has two sub-flows of the same flow."""
    middle = TriggerFlow(name="middle")
    inner = _child("inner")
    middle.to_sub_flow(inner, name="once").to_sub_flow(inner, name="twice").end()
    flow.to_sub_flow(middle).end()


@scenario(value="x", result="child failed: KeyError")
def sub_flow_fails(flow: TriggerFlow) -> None:
    """If a sub-flow fails, its step fails, and takes its error route."""
    child = TriggerFlow(name="broken")

    async def broken(data: Any) -> None:
        await asyncio.sleep(1)
        raise KeyError("gone")

    child.to(echo).to(broken).end()
    flow.to_sub_flow(child, name="step").end()
    flow.when({"error": "step"}).to(call("instead", "child failed: {0[type]}".format)).end()


@scenario(value=1, result={"own": [1, 2, 3], "given": None, "base": 0}, stream=("heard [1, 2]", "heard [1, 2, 3]"))
def sub_flow_shared_data(flow: TriggerFlow) -> None:
    """A sub-flow has a copy of the shared data: what it changes, no other execution sees."""
    child = TriggerFlow(name="copying")
    child.set_flow_data("base", 0)

    async def first(data: Any) -> None:
        data.flow_state.append("own", 2)
        data.flow_state.delete("given")
        await asyncio.sleep(1)

    async def second(data: Any) -> Any:
        data.flow_state.append("own", 3)
        return {key: data.flow_state.get(key) for key in ("own", "given", "base")}

    async def heard(data: Any) -> None:
        await data.async_put_into_stream(f"heard {list(data.value)}")

    async def listed(data: Any) -> Any:
        return {**data.value, "own": list(data.value["own"])}

    async def wrap(data: Any) -> Any:
        return [data.value]

    child.to(first).to(second).end()
    child.when({"flow_data": "own"}).to(heard)
    flow.to(wrap).to_sub_flow(child, capture={"flow_data": {"own": "value", "given": "value"}}).to(listed).end()
