"""Actions on executions, whoever runs them: done once for a request, refused with the owner's error, or told."""

import asyncio
from typing import Any

import pytest

from tests.backend.test_follow import counting
from tests.backend.test_questions import Verdict, around, asks, every, review
from triggerflow import TriggerFlow
from triggerflow.backend import (
    Answer,
    AnyAction,
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
from triggerflow.durable import Worker
from triggerflow.errors import ExecutionClosed
from triggerflow.stores import MemoryData, MemoryStore, Store


def listening() -> TriggerFlow:
    """Counts the signals "add", and the changes of a key, until it is closed or gets a result."""
    flow = TriggerFlow("listening")
    flow.signal("add", int, external=True)

    @flow.chunk("begin")
    async def begin(data: Any) -> None:
        data.state.set("added", 0)

    @flow.chunk("added")
    async def added(data: Any) -> None:
        data.state.set("added", data.state.get("added") + data.value)

    @flow.chunk("noted")
    async def noted(data: Any) -> None:
        data.state.append("notes", data.value)

    flow.to(begin)
    flow.when("add").to(added)
    flow.when({"runtime_data": "note"}).to(noted)
    return flow


async def code_of(call: Any) -> str:
    """The code of the error that a call raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any error has a code
        await call
    return error_info(raised.value).code


async def test_actions_reach_an_execution_that_another_process_runs() -> None:
    data, flow = MemoryData(), listening()
    async with MemoryStore(data) as here, MemoryStore(data) as there, Worker(there, flow):
        backend = StoreBackend(here, flow)
        await backend.start("listening", id="one")
        assert (await backend.act("one", Emit(name="add", value=2))).value is None
        await backend.act("one", Emit(name="add", value=3, delay=1.0))
        await backend.act("one", Emit(name="add", value=1000, delay=60.0))
        assert (await backend.act("one", CancelSignal(name="add"))).value == 2
        await backend.act("one", Emit(name="add", value=3, delay=1.0))
        await backend.act("one", SetState(key="note", value="first"))
        await backend.act("one", SetState(key="other", value=1))
        await backend.act("one", DeleteState(key="other"))
        await backend.act("one", Put(item={"from": "outside"}))
        await asyncio.sleep(2)
        state = await backend.state_at("one")
        assert state.state == {"added": 5, "note": "first", "notes": ["first"]}
        assert [it.item async for it in backend.stream("one")] == [{"from": "outside"}]
        await backend.act("one", SetResult(value="done"))
        assert (await backend.result("one", wait=10)).result == "done"
        await backend.start("listening", id="two")
        await backend.act("two", Close())
        assert (await backend.result("two", wait=10)).status == "completed"


async def test_a_request_is_done_once_however_often_it_comes() -> None:
    data, flow = MemoryData(), listening()
    async with MemoryStore(data) as here, MemoryStore(data) as there, Worker(there, flow):
        backends = StoreBackend(here, flow), StoreBackend(there)
        await backends[0].start("listening", id="one")
        same = [backends[it % 2].act("one", Emit(name="add", value=1), request="button") for it in range(6)]
        await asyncio.gather(*same)
        await backends[1].act("one", Emit(name="add", value=1), request="button")
        await asyncio.sleep(1)
        assert (await backends[0].state_at("one")).state["added"] == 1
        assert await code_of(backends[0].act("one", Emit(name="add", value=2), request="button")) == "bad_request"
        await backends[0].act("one", Cancel(reason="enough"))
        await backends[0].act("one", Emit(name="add", value=1), request="button")  # as it was
        assert await code_of(backends[0].act("one", Emit(name="add", value=1))) == "ended"


async def test_answers_are_checked_and_counted_once() -> None:
    data, flow = MemoryData(), around(review(schema=Verdict))
    async with MemoryStore(data) as here, MemoryStore(data) as there, Worker(there, flow):
        backend = StoreBackend(here, flow)
        await backend.start("outer", "draft", id="one")
        await asyncio.sleep(2)
        (asked,) = await every(backend)
        assert await code_of(backend.act("one", Answer(question=asked.id, value="yes"))) == "value_does_not_fit"
        assert await code_of(backend.act("one", Answer(question="other", value="yes"))) == "unknown_question"
        assert await code_of(backend.act(asked.asked_by, Answer(question=asked.own_id))) == "bad_request"
        yes = Answer(question=asked.id, value={"approved": True})
        await asyncio.gather(*(backend.act("one", yes, request="form-1") for _ in range(3)))
        assert await every(backend) == []
        done = await backend.result("one", wait=10)
        assert done.result == {"$type": "Verdict", "approved": True, "note": ""}
        await backend.act("one", yes, request="form-1")
        assert await code_of(backend.act("one", yes, request="form-2")) == "ended"


@pytest.mark.parametrize("knows_the_code", [True, False])
async def test_an_answer_is_told_with_its_question_also_without_the_code(knows_the_code: bool) -> None:
    data, flow = MemoryData(), review(schema=Verdict)
    async with MemoryStore(data) as here, MemoryStore(data) as there, Worker(there, flow):
        await StoreBackend(here, flow).start("review", "draft", id="one")
        backend = StoreBackend(here, flow) if knows_the_code else StoreBackend(here)
        await asyncio.sleep(2)
        answer = Answer(question="verdict", value={"approved": True})
        for _ in range(2):
            done = await backend.act("one", answer, request="form-1")
            assert done.value == {
                "id": "verdict",
                "type": "pause",
                "payload": "draft",
                "resume_event": None,
                "expires": None,
                "status": "resumed",
                "response": {"$type": "Verdict", "approved": True, "note": ""},
            }


async def test_without_anybody_who_runs_it_an_action_is_surely_not_done(store: Store) -> None:
    flow = listening()
    backend = StoreBackend(store, flow)
    await backend.start("listening", id="one")
    with pytest.raises(TimeoutError, match="was not done"):
        await backend.act("one", Emit(name="add", value=1), request="one", wait=5)
    waiting = asyncio.create_task(backend.act("one", Emit(name="add", value=1), wait=100))
    leaving = asyncio.create_task(backend.act("one", Emit(name="add", value=1000), wait=100))
    await asyncio.sleep(1)
    leaving.cancel()
    await asyncio.wait([leaving])
    async with Worker(store, flow):
        await waiting
        await backend.act("one", Emit(name="add", value=1), request="one", wait=5)
        await asyncio.sleep(1)
        assert (await backend.state_at("one")).state["added"] == 2


async def test_a_failed_execution_is_retried_once_for_a_request(store: Store) -> None:
    flow, failures = TriggerFlow("flaky"), [True]

    @flow.chunk("work")
    async def work(data: Any) -> str:
        if failures:
            raise OSError("not now")
        return "done"

    flow.to(work).end()
    backend = StoreBackend(store, flow)
    await backend.start("flaky", id="one")
    async with Worker(store, flow):
        assert (await backend.result("one", wait=10)).status == "failed"
        failures.clear()
        again = [backend.act("one", Retry(), request="again") for _ in range(3)]
        assert {it.status for it in await asyncio.gather(*again)} <= {"running", "completed"}
        assert (await backend.result("one", wait=10)).result == "done"
        await backend.act("one", Retry(), request="again")
        assert await code_of(backend.act("one", Retry())) == "not_possible"
    assert [it.kind async for it in backend.frames("one")].count("retried") == 1


async def test_a_fork_runs_where_the_workers_are(store: Store) -> None:
    flow = counting(5)
    backend = StoreBackend(store, flow)
    await backend.start("counting", 1, id="one")
    async with Worker(store, flow):
        await backend.result("one", wait=60)
        kinds = [it.kind async for it in backend.frames("one")]
        made = await backend.fork("one", at=kinds.index("completed") + 1, new_id="two", state={"count": 100})
        assert made.forked_from == ("one", kinds.index("completed") + 1)
        assert (await backend.result("two", wait=60)).status == "completed"
    found = await backend.diff("one", "two")
    assert not found.same
    assert found.parted is not None
    assert found.parted.number == kinds.index("completed") + 2
    assert found.parted.kinds[1] == "state"
    same = await backend.diff("one", "one")
    assert same.same
    assert await code_of(backend.fork("one", at=1000)) == "not_possible"


async def test_a_fork_under_the_id_of_a_running_execution_leaves_that_alone(store: Store) -> None:
    flow = counting(5)
    backend = StoreBackend(store, flow)
    await backend.start("counting", 1, id="one")
    await backend.start("counting", 1, id="two")
    async with Worker(store, flow):
        await asyncio.sleep(2)
        assert await code_of(backend.fork("one", at=2, new_id="two")) == "conflict"
        assert (await backend.get("two")).owned
        assert (await backend.result("two", wait=60)).status == "completed"


@pytest.mark.parametrize("action", [Emit(name="add", value=1), Put(item=1), Answer(question="x"), SetResult(value=1)])
async def test_an_execution_that_has_ended_takes_no_action(store: Store, action: AnyAction) -> None:
    await review("review").create_execution(store=store, id="one").async_cancel()
    backend = StoreBackend(store)
    with pytest.raises(ExecutionClosed):
        await backend.act("one", action)
    for wrong in ("", "x" * 1000):
        with pytest.raises(BadRequest):
            await backend.act("one", action, request=wrong)


async def test_a_question_that_two_answer_is_answered_by_one(store: Store) -> None:
    flow = review()
    await asks(flow, store, "one")
    backend = StoreBackend(store)
    async with Worker(store, flow):
        both = [backend.act("one", Answer(question="verdict", value=it)) for it in ("yes", "no")]
        found = await asyncio.gather(*both, return_exceptions=True)
    errors = [error_info(it).code for it in found if isinstance(it, BaseException)]
    assert errors in (["already_answered"], ["ended"])
