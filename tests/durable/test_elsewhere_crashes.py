"""Requests and crashes: whichever process dies at whichever point, what was asked is done once, or not at all.

The owner dies after each number of records, with its last commit in the store or not. The caller dies after each
number of turns of the loop.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.durable.crashing import Died, DyingStore
from tests.support import read, turns
from triggerflow import TriggerFlow, TriggerFlowError, TriggerFlowRuntimeData
from triggerflow._core import events
from triggerflow.durable import Worker
from triggerflow.durable.executions.commit import session_of
from triggerflow.stores import MemoryData, MemoryStore

Data = TriggerFlowRuntimeData[Any]
ID, LEASE = "run", 5.0


def desk() -> TriggerFlow:
    """Takes notes until its question is answered."""
    flow = TriggerFlow("desk")
    flow.signal("note", external=True)

    @flow.chunk("note")
    async def note(data: Data) -> None:
        await data.async_put_into_stream(data.value)

    flow.to(lambda data: data.pause_for(interrupt_id="q")).to(lambda data: data.value).end()
    flow.when("note").to(note)
    return flow


async def ask_everything(flow: TriggerFlow, store: Any, *, attach: bool) -> Any:
    """What one caller does, one after the other; returns the result."""
    handle = await (flow.async_attach if attach else flow.async_resume)(ID, store=store)
    for number in range(3):
        await handle.async_emit("note", number, settle=number == 1)
    await handle.state.async_append("words", "one")
    await handle.state.async_append("words", "two")
    await handle.async_put_into_stream("item")
    await handle.async_emit("note", "late", delay=1000, id="late")
    assert await handle.async_cancel_signal("late") == 1
    await handle.async_settled()  # the question is open, also after a crash
    await handle.async_continue_with("q", "answer")
    return await handle.async_get_result()


def die(store: DyingStore) -> None:
    """End the process that has opened this store."""
    for stored in list(session_of(store).live.values()):
        if stored.runtime.log is not None:
            stored.release_here(Died("the process died"))
    session_of(store).inbox.close()
    for task in store.unanswered:
        task.cancel()
    store.store.crash()


@asynccontextmanager
async def owner_until(data: MemoryData, records: int, unheard: bool) -> AsyncIterator[asyncio.Event]:
    """A process that runs the execution, and dies when so many records are in the store."""
    async with MemoryStore(data, lease=LEASE) as inner:
        store = DyingStore(inner, records, unheard=unheard)
        begun = asyncio.Event()

        async def live() -> None:
            execution = desk().create_execution(store=store, id=ID)
            await execution.async_begin(0)
            begun.set()
            with suppress(TriggerFlowError):
                await execution.async_get_result()

        async def end() -> None:
            await store.dead.wait()
            die(store)
            living.cancel()

        living, dying = asyncio.create_task(live()), asyncio.create_task(end())
        await asyncio.wait((living, dying, asyncio.create_task(begun.wait())), return_when=asyncio.FIRST_COMPLETED)
        try:
            yield store.dead
        finally:
            for task in (living, dying):
                task.cancel()
            await asyncio.gather(living, dying, *store.unanswered, return_exceptions=True)
            await turns(5)


async def check(flow: TriggerFlow, store: Any) -> None:
    """Everything that was asked for is in the journal, once."""
    history = flow.history(store)
    records = [record async for _, record in history.journal(ID)]
    emitted = Counter(it.value for it in records if isinstance(it, events.Emitted))
    assert emitted == {0: 1, 1: 1, 2: 1, "late": 1}
    changes = [it.value for it in records if isinstance(it, events.StateChanged)]
    assert changes == ["one", "two"]
    assert sum(isinstance(it, events.SignalsCancelled) for it in records) == 1
    assert sum(isinstance(it, events.Resumed) for it in records) == 1
    items = [item for item in await read(history.stream(ID)) if not isinstance(item, dict)]
    assert sorted(map(str, items)) == ["0", "1", "2", "item"]
    assert not await store.requests()


@pytest.mark.parametrize("unheard", [False, True], ids=["lost", "unheard"])
@pytest.mark.parametrize("caller", ["takes over", "leaves it to a worker"])
async def test_what_is_asked_is_done_once_wherever_the_owner_dies(caller: str, unheard: bool) -> None:
    """ "reply lost by a crash of the owner at every point" """
    died = 0
    for records in range(2, 40):
        data = MemoryData()
        async with MemoryStore(data) as store, owner_until(data, records, unheard) as dead:
            flow = desk()
            if caller == "takes over":
                if await store.find(ID) is None:  # the owner has died before its first commit
                    continue
                assert await ask_everything(flow, store, attach=False) == "answer"
            else:
                async with MemoryStore(data) as third, Worker(third, desk(), poll=1):
                    assert await ask_everything(flow, store, attach=True) == "answer"
            await check(flow, store)
            died += dead.is_set()
            if not dead.is_set():
                break
    else:
        pytest.fail("the owner died in every round: the rounds are too few")
    assert died > 15


ACTIONS: dict[str, Callable[[Any], Any]] = {
    "emit": lambda it: it.async_emit("note", "x"),
    "settle": lambda it: it.async_emit("note", "x", settle=True),
    "append": lambda it: it.state.async_append("words", "x"),
    "answer": lambda it: it.async_continue_with("q", "x"),
    "cancel": lambda it: it.async_cancel("x"),
}


@pytest.mark.parametrize("name", ACTIONS)
async def test_a_caller_that_dies_has_asked_once_or_not_at_all(name: str) -> None:
    asked = 0
    for count in range(30):
        data = MemoryData()
        async with MemoryStore(data) as owner, MemoryStore(data, lease=LEASE) as inner:
            here = desk().create_execution(store=owner, id=ID)
            await here.async_begin(0)
            await here.async_settled()
            before = len(here.records)
            there = await desk().async_resume(ID, store=inner)
            calling = asyncio.ensure_future(ACTIONS[name](there))
            await turns(count)
            for stored in list(session_of(inner).live.values()):  # it dies, and withdraws nothing
                stored.drop_mirror(stored.mirror)
            inner.crash()
            await asyncio.wait((calling,), timeout=1)
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            await asyncio.sleep(1)
            wanted = {"emit": events.Emitted, "settle": events.Emitted, "append": events.StateChanged}
            wanted |= {"answer": events.Resumed, "cancel": events.CancelRequested}
            done = sum(isinstance(it, wanted[name]) for it in here.records[before:])
            assert done == len(data.replied) <= 1
            assert not data.inbox
            asked += done
    assert 0 < asked < 30


async def test_two_callers_of_one_answer_are_one_answer() -> None:
    """Two processes answer at the same time with one `request_id`; the owner dies before it has replied."""
    for records in range(3, 12):
        data = MemoryData()
        async with MemoryStore(data) as one, MemoryStore(data) as two, owner_until(data, records, unheard=True):
            if await one.find(ID) is None:
                continue
            handles = [await desk().async_resume(ID, store=store) for store in (one, two)]
            await handles[0].async_settled()
            found = await asyncio.gather(*(it.async_continue_with("q", "x", request_id="r") for it in handles))
            assert found[0] == found[1]
            assert [await it.async_get_result() for it in handles] == ["x", "x"]


def counter() -> TriggerFlow:
    """Puts the numbers from 0 to 29 into its stream."""
    flow = TriggerFlow("counter")

    @flow.chunk("count")
    async def count(data: Data) -> str:
        for number in range(30):
            await data.async_put_into_stream(number)
            await asyncio.sleep(0.1)
        return "done"

    flow.to(count).end()
    return flow


@pytest.mark.parametrize("records", [2, 3, 10, 20])
async def test_a_reader_elsewhere_goes_on_through_the_death_of_the_owner(records: int) -> None:
    """It gets each item once, under the same number; a worker of a third process goes on."""
    data = MemoryData()
    async with MemoryStore(data, lease=LEASE) as inner, MemoryStore(data) as store, MemoryStore(data) as third:
        owner = DyingStore(inner, records)
        living = asyncio.create_task(counter().create_execution(store=owner, id=ID).async_start(0))
        await turns(30)
        handle = await counter().async_attach(ID, store=store)
        reader = handle.get_async_runtime_stream()
        items: list[Any] = []
        numbers: list[int] = []

        async def follow() -> None:
            async for item in reader:
                items.append(item)
                numbers.append(reader.position)

        async with Worker(third, counter(), poll=1):
            reading = asyncio.create_task(follow())
            waiting = asyncio.create_task(handle.async_get_result())
            await owner.dead.wait()
            die(owner)
            living.cancel()
            await asyncio.gather(living, *owner.unanswered, return_exceptions=True)
            assert await waiting == "done"
            await reading
    assert items == list(range(30))
    assert numbers == list(range(1, 31))
