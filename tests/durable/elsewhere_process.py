"""The processes of `test_elsewhere_kill`: `python -m tests.durable.elsewhere_process FILE owner|caller`.

An *owner* runs the executions of the flow. A *caller* takes requests from stdin, one JSON object a line, makes each of
them on a handle, and says what came of it on stdout.
"""

import asyncio
import json
import os
import sys
from typing import Any

from triggerflow import TriggerFlow, TriggerFlowError, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

#: Seconds after which a process that was killed counts as dead at the latest.
LEASE = 1.0


def desk() -> TriggerFlow:
    """Takes notes for ever."""
    flow = TriggerFlow("desk")
    flow.signal("note", external=True)

    @flow.chunk("note")
    async def note(data: TriggerFlowRuntimeData[Any]) -> None:
        await data.async_put_into_stream(["noted", data.value])

    flow.to(lambda data: None)
    flow.when("note").to(note)
    return flow


async def request(flow: TriggerFlow, store: SQLiteStore, asked: dict[str, Any]) -> None:
    """Make one request on a handle."""
    open_handle = flow.async_attach if asked["attach"] else flow.async_resume
    handle = await open_handle(asked["id"], store=store)
    match asked["kind"]:
        case "emit":
            await handle.async_emit("note", asked["token"])
        case "settle":
            await handle.async_emit("note", asked["token"], settle=True)
        case "append":
            await handle.state.async_append("tokens", asked["token"])
        case _:
            await handle.async_put_into_stream(["put", asked["token"]])


def say(line: dict[str, Any]) -> None:
    """One line, in one write."""
    os.write(1, json.dumps(line).encode() + b"\n")


async def call(flow: TriggerFlow, store: SQLiteStore, asked: dict[str, Any]) -> None:
    """Make a request, and say what came of it."""
    try:
        await request(flow, store, asked)
    except TriggerFlowError as error:
        say({"token": asked["token"], "error": type(error).__name__, "message": str(error)})
    else:
        say({"token": asked["token"]})


async def main(path: str, role: str) -> None:
    """Work until stdin ends."""
    stdin = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    flow = desk()
    async with SQLiteStore(path, synchronous="NORMAL", lease=LEASE) as store:
        if role == "owner":
            async with Worker(store, flow, poll=0.1):
                say({"ready": True})
                await stdin.read()
            return
        say({"ready": True})
        tasks: set[asyncio.Task[None]] = set()
        while line := await stdin.readline():
            task = asyncio.create_task(call(flow, store, json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
