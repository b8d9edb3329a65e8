"""`HTTPBackend` gives what the backend behind the server gives: the same values, and the same errors."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest

from tests.client.places import serving
from tests.client.test_handles import review
from tests.relay import Relay
from triggerflow import TriggerFlow
from triggerflow.backend import (
    Answer,
    Backend,
    BadRequest,
    Cancel,
    CancelSignal,
    Close,
    DeleteState,
    Emit,
    Put,
    Retry,
    SetResult,
    SetState,
    StoreBackend,
    error_info,
)
from triggerflow.client import HTTPBackend
from triggerflow.client.values import as_json
from triggerflow.durable import Worker
from triggerflow.errors import ExecutionExists, PayloadError
from triggerflow.server import create_app
from triggerflow.stores import MemoryStore, Store

#: They wait for sockets.
pytestmark = pytest.mark.real_time


async def listed(found: Any) -> list[Any]:
    return [it async for it in found]


#: Calls that read; those that are wrong as well.
READING: dict[str, Callable[[Backend], Any]] = {
    "flows": lambda it: it.flows(),
    "contract": lambda it: it.contract("review"),
    "contract of nothing": lambda it: it.contract("none"),
    "contract of no definition": lambda it: it.contract("review", definition="none"),
    "drawing": lambda it: it.drawing("review"),
    "drawing, detailed": lambda it: it.drawing("review", mode="detailed"),
    "executions": lambda it: it.executions(),
    "executions of a flow": lambda it: it.executions(flow="review", status="waiting"),
    "executions by statuses": lambda it: it.executions(status=["waiting", "completed"], limit=1),
    "executions of no status": lambda it: it.executions(status=[]),
    "executions by labels": lambda it: it.executions(labels={"team": "sea:1", "über": "="}),
    "executions by time": lambda it: it.executions(since=1.5, until=1e12),
    "executions by text": lambda it: it.executions(text="one"),
    "executions of a parent": lambda it: it.executions(parent="one"),
    "executions after": lambda it: it.executions(after="one", limit=1000),
    "executions, too many": lambda it: it.executions(limit=1001),
    "executions after nothing": lambda it: it.executions(after="none"),
    "counts": lambda it: it.counts(),
    "counts by time": lambda it: it.counts(since=1e12),
    "questions": lambda it: it.questions(),
    "questions of a flow": lambda it: it.questions(flow="none"),
    "questions of an execution": lambda it: it.questions(execution="a/b ?ü%2F", limit=1),
    "questions after": lambda it: it.questions(after="nonsense"),
    "get": lambda it: it.get("one"),
    "get odd": lambda it: it.get("a/b ?ü%2F"),
    "get nothing": lambda it: it.get("none"),
    "get dots": lambda it: it.get(".."),
    "frames": lambda it: listed(it.frames("one")),
    "frames after": lambda it: listed(it.frames("one", after=3)),
    "frames, followed": lambda it: listed(it.frames("one", follow=True)),
    "frames of nothing": lambda it: listed(it.frames("none")),
    "stream": lambda it: listed(it.stream("one")),
    "stream, followed": lambda it: listed(it.stream("one", after=1, follow=True)),
    "stream, merged": lambda it: listed(it.stream("one", compact=True)),
    "state": lambda it: it.state_at("one"),
    "state at": lambda it: it.state_at("a/b ?ü%2F", 2),
    "state not yet": lambda it: it.state_at("one", 999),
    "result": lambda it: it.result("one"),
    "result of one that waits": lambda it: it.result("a/b ?ü%2F", wait=0.01),
    "result, too late": lambda it: it.result("one", wait=1000),
    "diff": lambda it: it.diff("one", "a/b ?ü%2F"),
    "diff of two flows": lambda it: it.diff("one", "echo"),
    "export": lambda it: listed(it.export("one")),
    "export of nothing": lambda it: listed(it.export("none")),
}  # fmt: skip


class Both:
    """A backend, and the same behind a server."""

    def __init__(self, direct: StoreBackend, remote: HTTPBackend, relay: Relay, store: Store) -> None:
        self.direct, self.remote, self.relay, self.store = direct, remote, relay, store


def echo() -> TriggerFlow:
    flow = TriggerFlow("echo")
    flow.to(lambda data: data.value, name="echo").end()
    return flow


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    flows = review(), echo()
    async with MemoryStore() as store, Worker(store, *flows), serving(create_app(flows, store)) as server:
        direct = StoreBackend(store, *flows)
        await direct.start("review", "red sails", id="one", labels={"team": "sea:1", "über": "="})
        await direct.start("review", "green sails", id="a/b ?ü%2F")
        await direct.start("echo", 1, id="echo")
        async with asyncio.timeout(20):
            while len((await direct.questions()).questions) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await direct.act("one", Answer(question="verdict", value=True))
        await direct.result("one", wait=20)
        await direct.result("echo", wait=20)
        async with (
            Relay(int(server.url.rpartition(":")[2])) as relay,
            HTTPBackend(f"http://127.0.0.1:{relay.port}/") as remote,
        ):
            yield Both(direct, remote, relay, store)


async def outcome(call: Any) -> Any:
    """What a call returns, or the class and the code of its error."""
    try:
        return await call
    except Exception as error:
        return type(error), error_info(error).code


async def test_what_is_read_is_the_same(both: Both) -> None:
    for name, call in READING.items():
        direct, remote = await outcome(call(both.direct)), await outcome(call(both.remote))
        if name.startswith("export of"):
            assert remote == direct, name
        elif name == "export":
            assert b"".join(remote) == b"".join(direct), name
        else:
            assert remote == direct, name


ACTIONS = [
    Emit(name="note", value="a"),
    Emit(name="note", value="b", delay=100.0),
    CancelSignal(name="note"),
    Put(item={"from": "outside"}),
    SetState(key="a/b ?ü", value=[1, None, {"x": 1.5}]),
    DeleteState(key="a/b ?ü"),
    SetResult(value="early"),
    SetResult(value="late", replace=True),
    Answer(question="verdict", value="maybe"),
    Answer(question="other", value=True),
    Retry(),
    Close(),
    Answer(question="verdict", value=False),
    Retry(force=True),
    Cancel(reason="enough"),
]


async def test_what_is_done_is_the_same(both: Both) -> None:
    ids = "by-one", "by-other"
    for id, backend in zip(ids, (both.direct, both.remote), strict=True):
        await backend.start("review", "sails", id=id)
        async with asyncio.timeout(20):
            while not (await both.direct.questions(execution=id)).questions:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    found: list[list[Any]] = [[], []]
    for number, action in enumerate(ACTIONS):
        for id, backend, into in zip(ids, (both.direct, both.remote), found, strict=True):
            into.append(await outcome(backend.act(id, action, request=f"{id}-{number}")))
            if isinstance(action, Answer | Retry):
                await both.direct.result(id, wait=0.5)
    assert [getattr(it, "value", it) for it in found[0]] == [getattr(it, "value", it) for it in found[1]]
    kinds = [[it.kind async for it in both.direct.frames(id)] for id in ids]
    assert kinds[0] == kinds[1]
    repeated = [await outcome(both.remote.act(ids[1], ACTIONS[0], request=f"{ids[1]}-0")) for _ in range(2)]
    assert [it.value for it in repeated] == [None, None]
    wrong = outcome(both.remote.act(ids[1], ACTIONS[1], request=f"{ids[1]}-0"))
    assert (await wrong)[0] is BadRequest


WRONG: dict[str, Callable[[Backend], Any]] = {
    "start of nothing": lambda it: it.start("none"),
    "start with another type": lambda it: it.start("review", 3),
    "start twice": lambda it: it.start("review", "a", id="one"),
    "start with no such policy": lambda it: it.start("review", "a", id="one", reuse="sometimes"),  # type: ignore[arg-type]
    "start later than ever": lambda it: it.start("review", "a", delay=-1.0),
    "start with a long id": lambda it: it.start("review", "a", id="x" * 600),
    "act on nothing": lambda it: it.act("none", Close()),
    "act without a name": lambda it: it.act("one", Close(), request=""),
    "act late": lambda it: it.act("one", Close()),
    "act for too long": lambda it: it.act("one", Close(), wait=1000.0),
    "fork nothing": lambda it: it.fork("none", at=1),
    "fork too late": lambda it: it.fork("one", at=1000),
    "fork on another": lambda it: it.fork("one", at=1, new_id="echo"),
    "a value that is none": lambda it: it.start("echo", object()),
}


async def test_what_is_refused_is_refused_alike(both: Both) -> None:
    for name, call in WRONG.items():
        direct, remote = await outcome(call(both.direct)), await outcome(call(both.remote))
        assert isinstance(direct, tuple), name
        assert remote == direct or name == "start with no such policy", (name, remote, direct)
        assert issubclass(remote[0], ValueError | TypeError | RuntimeError | LookupError | Exception)


async def test_forks_and_policies(both: Both) -> None:
    made = await both.remote.fork("one", at=3, state={"draft": "blue"}, value="other")
    assert made.forked_from == ("one", 3)
    assert (await both.remote.fork("one", at=3, new_id="two")).id == "two"
    assert (await both.remote.start("echo", 1, id="echo", reuse="existing")).id == "echo"
    assert (await both.remote.start("echo", 1, id="echo", reuse="new_after_end")).id == "echo.2"
    assert (await both.remote.start("echo", 1)).labels == {}


async def test_a_file_is_what_history_loads(both: Both, tmp_path: Any) -> None:
    file = tmp_path / "one.jsonl"
    file.write_bytes(b"".join(await listed(both.remote.export("one"))))
    async with MemoryStore() as other:
        row = await review().history(other).load(str(file))
        assert row.id == "one"


# -- lost answers ------------------------------------------------------------------------------------------------------


def lose_the_next_answer(relay: Relay, beginning: bytes) -> list[bytes]:
    """Let the server get the next request that begins so, and the client no answer to it. Returns what was lost."""
    lost: list[bytes] = []

    def breaks(data: bytes) -> bool:
        if lost or not data.startswith(beginning):
            return False
        lost.append(data)
        return True

    relay.breaks = breaks
    return lost


@pytest.mark.parametrize("options", [{}, {"id": "mine"}, {"id": "mine", "reuse": "new_after_end"}])
async def test_a_start_whose_answer_was_lost_is_one_start(both: Both, options: dict[str, Any]) -> None:
    lost = lose_the_next_answer(both.relay, b"POST /api/flows/echo")
    made = await both.remote.start("echo", "once", labels={"batch": "7"}, **options)
    assert len(lost) == 1
    page = await both.direct.executions(flow="echo", labels={"batch": "7"})
    assert [it.id for it in page.executions] == [made.id]
    if options.get("reuse", "reject") == "reject" and options:
        with pytest.raises(ExecutionExists):
            await both.remote.start("echo", "once", **options)


async def test_actions_and_forks_whose_answer_was_lost_are_done_once(both: Both) -> None:
    id = "a/b ?ü%2F"
    lost = lose_the_next_answer(both.relay, b"POST")
    await both.remote.act(id, Emit(name="note", value="a"))
    assert len(lost) == 1
    async with asyncio.timeout(20):
        while "notes" not in (await both.direct.state_at(id)).state:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await both.direct.state_at(id)).state["notes"] == ["a"]
    lose_the_next_answer(both.relay, b"POST")
    assert (await both.remote.act(id, Answer(question="verdict", value=True))).value["response"] is True
    assert (await both.remote.result(id, wait=20)).status == "completed"
    lost = lose_the_next_answer(both.relay, b"POST")
    made = await both.remote.fork("one", at=2)
    assert len(lost) == 1
    forks = [it for it in (await both.direct.executions()).executions if it.forked_from is not None]
    assert [it.id for it in forks] == [made.id]


# -- values ------------------------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int


@dataclass
class Data:
    colour: Colour
    point: Point


class Struct(msgspec.Struct):
    data: Data


class Model(pydantic.BaseModel):
    names: set[str]


class Name(str):
    __slots__ = ()


async def test_values_are_sent_as_json_or_refused(both: Both) -> None:
    value = {"a": [1, 2.5, None, True], "b": ("x", Name("y")), "c": Struct(Data(Colour.RED, Point(1))),
             "d": Model(names={"n"})}  # fmt: skip
    made = await both.remote.start("echo", value)
    found = await both.remote.result(made.id, wait=20)
    assert found.result == {
        "a": [1, 2.5, None, True],
        "b": ["x", "y"],
        "c": {"data": {"colour": "red", "point": [1]}},
        "d": {"names": ["n"]},
    }
    circle: list[Any] = []
    circle.append(circle)
    for wrong in (float("nan"), float("inf"), 2**70, {1: 2}, object(), circle, [{"a": {("t",): 1}}], both):
        with pytest.raises(PayloadError, match="start value"):
            await both.remote.start("echo", wrong)
    with pytest.raises(PayloadError):
        await both.remote.start("echo", "\ud800")
    assert as_json([Colour.RED, Name("x")], "it") == ["red", "x"]
