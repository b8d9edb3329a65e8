"""A client in a script: the names without `async_`, in a thread without an event loop."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from tests.client.places import serving
from tests.client.test_handles import review
from triggerflow.backend import Backend, StoreBackend
from triggerflow.client import Client, SyncBackend
from triggerflow.durable import Worker
from triggerflow.errors import BlockingCallError, ExecutionClosed, RemoteChunkError, UnknownExecution
from triggerflow.server import create_app
from triggerflow.stores import MemoryStore

#: They wait for sockets.
pytestmark = pytest.mark.real_time


def until_asked(execution: Any) -> dict[str, Any]:
    while not (asked := execution.get_pending_interrupts()):
        assert execution.get_status() in ("running", "waiting")
    return asked


def script(url: str) -> list[Any]:
    told: list[Any] = []
    with Client(url, patience=5.0) as client:
        flow = client.flow("review")
        execution = flow.submit("red sails", id="one")
        stream = execution.get_runtime_stream()
        told += [next(stream), next(stream)]
        told += list(until_asked(execution))
        execution.emit("note", "shorter")
        execution.put_into_stream("from outside")
        execution.state.set("key", 1)
        told += [execution.state.get("key"), "key" in execution.state]
        execution.state.delete("key")
        told.append(sorted(execution.committed(execution.state.to_dict)))
        told.append(execution.continue_with("verdict", True)["status"])
        told.append(execution.get_result(timeout=20)["draft"])
        told.append(len(list(stream)))
        with pytest.raises(ExecutionClosed):
            execution.emit("note", "late")
        with pytest.raises(UnknownExecution):
            client.attach("none")
        other = client.flow("review").create_execution()
        other.begin("x")
        assert client.attach(other.id) == other
        until_asked(other)
        assert other.cancel_signal("note") == 0
        other.continue_with("verdict", False)
        with pytest.raises(RemoteChunkError):
            other.start("x", timeout=20)
        flow.retry(other.id)
        told.append(sorted(it.name for it in client.sync.flows()))
        told.append([it.number for it in client.sync.frames("one", after=1)][:3])
        told.append(client.sync.result("one").status)
        told.append(len(b"".join(client.sync.export("one"))) > 100)
    return told


async def test_a_script_does_all_without_asyncio() -> None:
    flow = review()
    async with MemoryStore() as store, Worker(store, flow), serving(create_app([flow], store)) as server:
        told = await asyncio.to_thread(script, server.url)
        with pytest.raises(BlockingCallError):
            Client(server.url).attach("one")
    assert told == [
        {"delta": "red"}, {"delta": "sails"}, "verdict", 1, True, ["draft", "notes"], "resumed", "red sails", 4,
        ["review"], [2, 3, 4], "completed", True,
    ]  # fmt: skip


def test_every_method_of_a_backend_has_a_sync_version() -> None:
    names = {it for it in vars(Backend) if not it.startswith("_")}
    assert {it for it in vars(SyncBackend) if not it.startswith("_")} == names
    assert names <= set(dir(StoreBackend))


def test_httpx_is_imported_by_the_first_call_only() -> None:
    program = (
        "import sys, triggerflow.client as c\n"
        "c.Client('http://localhost:1').flow('x').create_execution()\n"
        "print(sorted({'httpx2', 'anyio', 'ssl', 'starlette', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("['ssl']\n", "")
