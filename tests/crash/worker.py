"""The process that is killed: `python -m tests.crash.worker PLACE ROUNDS SYNCHRONOUS`.

It takes commands from stdin and says on stdout what came of them, one JSON object a line. A line goes out when the call
that it acknowledges has returned, and not before.
"""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from triggerflow import Execution
from triggerflow.durable import Worker
from triggerflow.durable.format.loading import RestoredExecution, write_snapshot
from triggerflow.extension import runtime_of

from .place import open_store
from .workload import work_flow

Command = dict[str, Any]


def say(line: dict[str, Any]) -> None:
    """One line, in one write: a kill cuts between lines or within the last one."""
    os.write(1, json.dumps(line).encode() + b"\n")


def digest(loaded: RestoredExecution, types: Any) -> str:
    """The whole state of an execution, in short."""
    return hashlib.sha256(write_snapshot(loaded, types)).hexdigest()


class Commands:
    """What the outside can have this process do. Each returns what is acknowledged."""

    def __init__(self, store: Any, rounds: int) -> None:
        self.store = store
        self.flow = work_flow(rounds)

    async def _found(self, command: Command) -> Execution:
        return await self.flow.async_resume(command["id"], store=self.store)

    async def start(self, command: Command) -> Any:
        """Start an execution; acknowledged when its start is on disk."""
        execution = self.flow.create_execution(id=command["id"], store=self.store, max_losses=10_000)
        await execution.async_begin(command["value"])

    async def result(self, command: Command) -> Any:
        """Wait for the end of an execution; its result and its state then."""
        execution = await self._found(command)
        result = await execution.async_get_result()
        return {"result": result, **self._state(execution)}

    async def pending(self, command: Command) -> Any:
        """The questions that an execution has open."""
        execution = await self._found(command)
        return {id: asked["payload"] for id, asked in execution.get_pending_interrupts().items()}

    async def answer(self, command: Command) -> Any:
        """Answer a question."""
        execution = await self._found(command)
        await execution.async_continue_with(command["interrupt"], command["value"], request_id=command["request"])

    async def note(self, command: Command) -> Any:
        """Send a signal."""
        execution = await self._found(command)
        await execution.async_emit("note", command["value"])

    async def state(self, command: Command) -> Any:
        """How many records there are, and the state after them, all of it on disk."""
        execution = await self._found(command)
        assert runtime_of(execution).log is not None
        await runtime_of(execution).log.wait_committed()
        return self._state(execution)

    async def follow(self, command: Command) -> Any:
        """Say every stream item after a number, to the end of the execution."""
        execution = await self._found(command)
        reader = execution.get_async_runtime_stream(after=command["after"])
        async for item in reader:
            say({"item": reader.position, "id": command["id"], "value": item})

    def _state(self, execution: Execution) -> dict[str, Any]:
        assert runtime_of(execution).log is not None
        if not runtime_of(execution).log.is_committed:  # something was taken in since
            return {}
        loaded = RestoredExecution(runtime_of(execution).machine, runtime_of(execution).start_value)
        return {
            "records": runtime_of(execution).machine.state.records,
            "digest": digest(loaded, runtime_of(execution).program.types),
        }


async def handle(call: Callable[[Command], Awaitable[Any]], command: Command) -> None:
    """Do one command and acknowledge it."""
    try:
        value = await call(command)
    except Exception as error:
        say({"no": command["no"], "error": type(error).__name__, "message": str(error)})
    else:
        say({"no": command["no"], "value": value})


async def main(place: str, rounds: int, synchronous: Any) -> None:
    """Work until stdin ends."""
    stdin = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with open_store(place, synchronous) as store:
        commands = Commands(store, rounds)
        async with Worker(store, commands.flow, poll=0.2, at_once=500):
            say({"ready": store.owner})
            tasks: set[asyncio.Task[None]] = set()
            while line := await stdin.readline():
                command = json.loads(line)
                task = asyncio.create_task(handle(getattr(commands, command["do"]), command))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            for task in tasks:
                task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
