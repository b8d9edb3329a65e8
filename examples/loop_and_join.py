"""A brochure: a loop improves its text, its pictures are drawn meanwhile, and one page joins both.

    start --> write --"improve"--> write --"improve"--> write --"text_ready"------.
      |         `-- log (a side branch, after every version)                       and --> publish --> result
      `-----> illustrate --"picture" x 3, settled--> "pictures_ready"-------------'

Shown here: a loop of signals with `back_to`, `side_branch`, `emit(settle=True)`, a join with `when([...])`,
and a cancellation. Run it: `python examples/loop_and_join.py`.
"""

import asyncio
from typing import Any

from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ExecutionCancelled

VERSIONS = 3

flow = TriggerFlow(name="brochure")
flow.set_contract(initial_input=None)  # it takes nothing


@flow.chunk("write")
async def write(data: TriggerFlowRuntimeData[Any]) -> str:
    """Write one version of the text. The signal "improve" starts this chunk again."""
    version = data.state.get("version", 0) + 1
    data.state.set("version", version)
    await asyncio.sleep(0.01)
    text = f"text, version {version}"
    await data.async_emit("improve" if version < VERSIONS else "text_ready", text)
    return text


@flow.chunk("log")
async def log(data: TriggerFlowRuntimeData[str]) -> None:
    """A side branch: no step waits for it, and its result is ignored."""
    await data.async_put_into_stream(f"written: {data.value}")


@flow.chunk("illustrate")
async def illustrate(data: TriggerFlowRuntimeData[Any]) -> None:
    """Order the pictures one by one. With `settle` an emit returns when all work that it caused is done."""
    for subject in ("cover", "map", "team"):
        await data.async_emit("picture", subject, settle=True)
    await data.async_emit("pictures_ready", data.state.get("pictures"))


@flow.chunk("draw")
async def draw(data: TriggerFlowRuntimeData[str]) -> None:
    """Draw one picture; clean up if the run is cancelled."""
    await data.async_put_into_stream(f"drawing: {data.value}")
    try:
        await asyncio.sleep(0.003)
    except asyncio.CancelledError:
        await data.async_put_into_stream(f"thrown away: half a picture of {data.value}")
        raise
    data.state.append("pictures", data.value)


@flow.chunk("publish")
async def publish(data: TriggerFlowRuntimeData[dict[str, Any]]) -> dict[str, Any]:
    """Join the page. This runs when both signals have come, and gets their values by kind and name."""
    ready = data.value["event"]
    return {"text": ready["text_ready"], "pictures": ready["pictures_ready"]}


flow.to(write).side_branch(log)
flow.when("improve").back_to(write)
flow.to(illustrate)
flow.when("picture").to(draw)
flow.when(["text_ready", "pictures_ready"]).to(publish).end()


async def to_the_end() -> None:
    """Run the flow and print its stream."""
    execution = flow.create_execution()
    async for line in execution.get_async_runtime_stream():
        print(" ", line)
    print("  result:", await execution.async_get_result())


async def cancelled_on_the_way() -> None:
    """Cancel the execution while it draws the second picture."""
    execution = flow.create_execution()
    try:
        async for line in execution.get_async_runtime_stream():
            print(" ", line)
            if line == "drawing: map":
                await execution.async_cancel("the reader closed the page")
    except ExecutionCancelled as cancelled:
        print(f"  status {execution.get_status()}: {cancelled.reason}")


async def main() -> None:
    """Run both."""
    print("To the end:")
    await to_the_end()
    print("Cancelled on the way:")
    await cancelled_on_the_way()


if __name__ == "__main__":
    asyncio.run(main())
