"""Durable executions of a flow share `flow_state` in their store: all processes see one order of changes, and each
change is made once and wakes each listener once, whatever ends in between."""

import asyncio
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.durable.conftest import Open
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.durable.executions.shared import SharedView
from triggerflow.errors import BlockingCallError, PayloadError
from triggerflow.serialize.payload import Types
from triggerflow.stores import MemoryStore, SQLiteStore
from triggerflow.stores.protocol import SharedChange

Data = TriggerFlowRuntimeData[Any]


def adder(name: str = "log") -> TriggerFlow:
    """Appends its value to the shared list; its result is the list as it sees it then."""
    flow = TriggerFlow(name)

    @flow.chunk("add")
    async def add(data: Data) -> Any:
        await data.flow_state.async_append("log", data.value)
        return list(data.flow_state.get("log"))

    flow.to(add).end()
    return flow


async def run(flow: TriggerFlow, store: Any, value: Any) -> Any:
    """The result of a new execution."""
    return await flow.create_execution(store=store).async_start(value)


def listener(name: str = "alarm") -> TriggerFlow:
    """Sets `key` to its value if it gets one, then collects every change of the key until it hears "stop"."""
    flow = TriggerFlow(name)

    @flow.chunk("begin")
    async def begin(data: Data) -> None:
        if data.value is not None:
            await data.flow_state.async_set("key", data.value)

    @flow.chunk("heard")
    async def heard(data: Data) -> None:
        await data.state.async_append("heard", data.value)
        if data.value == "stop":
            data.execution.emit("over")

    @flow.chunk("over")
    async def over(data: Data) -> Any:
        return list(data.state.get("heard", []))

    flow.to(begin)
    flow.when({"flow_data": "key"}).to(heard)
    flow.when(flow.signal("over", external=True)).to(over).end()
    return flow


async def test_another_process_sees_what_a_chunk_has_changed(open_store: Open) -> None:
    """guide/state: all executions of the flow in the store share it, whatever process runs them."""
    one, other = adder(), adder()
    async with open_store() as here, open_store() as there:
        assert await run(one, here, 1) == [1]
        assert await run(other, there, 2) == [1, 2]
        assert await run(one, here, 3) == [1, 2, 3]


NO_LISTS: list[Any] = [5, "text", {"a": 1}, {1}, None, b"x", range(3)]


def appender(held: Any, how: str, *, at_once: bool) -> TriggerFlow:
    """Sets the key, and appends to it in the same chunk or in the next one. Its result: the error, and the value."""
    flow = TriggerFlow("appender")

    @flow.chunk("set")
    async def set_it(data: Data) -> None:
        data.flow_state.set("key", held)

    @flow.chunk("append")
    async def append(data: Data) -> Any:
        with pytest.raises(TypeError) as raised:
            await data.flow_state.async_append("key", 1)
        return [str(raised.value), data.flow_state.get("key")]

    @flow.chunk("plain")
    def plain(data: Data) -> Any:
        if at_once:
            data.flow_state.set("key", held)
        with pytest.raises(TypeError) as raised:
            data.flow_state.append("key", 1)
        return [str(raised.value), data.flow_state.get("key")]

    flow.to(set_it).to(append if how == "async" else plain).end()
    return flow


@pytest.mark.parametrize("held", NO_LISTS, ids=lambda held: type(held).__name__)
@pytest.mark.parametrize("how", ["async", "thread"])
async def test_an_append_to_what_is_no_list_fails_in_the_caller(open_store: Open, held: Any, how: str) -> None:
    """In memory and in every store alike, also if the value is not committed yet. The text names the user's type."""
    expected = [f"flow_data['key'] has a value of type {type(held).__name__}; only a list can be appended to", held]
    for at_once in (False, True):
        assert await appender(held, how, at_once=at_once).create_execution().async_start() == expected
        async with open_store() as store:
            assert await run(appender(held, how, at_once=at_once), store, None) == expected


async def test_an_append_awaited_knows_what_another_process_has_set(open_store: Open) -> None:
    flow, other = TriggerFlow("f"), TriggerFlow("f")
    async with open_store() as here, open_store() as there:

        @flow.chunk("append")
        async def append(data: Data) -> Any:
            await data.flow_state.async_append("key", 1)
            await other.async_set_flow_data("key", 5, store=there)
            with pytest.raises(TypeError, match="of type int"):
                await data.flow_state.async_append("key", 2)
            return data.flow_state.get("key")

        flow.to(append).end()
        assert await run(flow, here, None) == 5


async def test_an_append_that_comes_too_late_is_told(open_store: Open, caplog: pytest.LogCaptureFixture) -> None:
    """The value was set by another process, and the appending one has not heard of it: never silently."""
    flow, other = TriggerFlow("f"), TriggerFlow("f")
    async with open_store() as here, open_store() as there:

        @flow.chunk("begin")
        async def begin(data: Data) -> None:
            data.flow_state.set("key", [1])

        @flow.chunk("append")
        async def append(data: Data) -> None:
            await other.async_set_flow_data("key", "hunter2", store=there)
            data.flow_state.append("key", 2)

        flow.to(begin).to(append).end()
        await run(flow, here, None)
        assert await flow.async_get_flow_data("key", store=here) == "hunter2"
    [told] = [it.getMessage() for it in caplog.records if "append" in it.getMessage()]
    assert "flow_data['key'] had no effect" in told
    assert "hunter2" not in told


async def test_concurrent_appends_lose_nothing(open_store: Open) -> None:
    """guide/state: `append` loses nothing, whoever appends at the same time."""
    flows = [adder(), adder()]
    async with open_store() as here, open_store() as there:
        await asyncio.gather(
            *(
                run(flow, store, (name, i))
                for name, flow, store in zip("ab", flows, (here, there), strict=True)
                for i in range(20)
            )
        )
        found = await flows[0].async_get_flow_data("log", store=there)
    assert len(found) == 40
    for name in "ab":
        assert [i for by, i in found if by == name] == list(range(20))


async def test_a_running_listener_in_another_process_is_woken_once_by_each_change(open_store: Open) -> None:
    """guide/state: `when({"flow_data": key})` runs once for each change, with the value after it."""
    one, other = listener(), listener()
    async with open_store() as here, open_store() as there:
        execution = one.create_execution(store=here, id="listens")
        await execution.async_begin(None)
        await other.create_execution(store=there).async_begin("a")
        await asyncio.sleep(1)
        for _ in range(2):
            await other.async_set_flow_data("key", "b", store=there)
        await other.async_set_flow_data("quiet", 1, store=there)
        await other.async_set_flow_data("key", "not told", emit=False, store=there)
        await other.async_set_flow_data("key", "stop", store=there)
        assert await execution.async_get_result(timeout=10) == ["a", "b", "b", "stop"]


async def test_a_parked_listener_is_work_for_any_worker(open_store: Open) -> None:
    """durable: a parked execution is opened where a worker is free, and gets every change once."""
    one, other = listener(), listener()
    async with open_store() as here:
        async with Worker(here, one, poll=0.1):
            execution = one.create_execution(store=here, id="listens")
            await execution.async_begin(None)
            await asyncio.sleep(1)
            assert (await here.find(execution.id)).owner is None  # it is parked
        async with open_store() as there:
            for value in (1, 2):
                await other.async_set_flow_data("key", value, store=there)
            async with Worker(there, other, poll=0.1):
                await asyncio.sleep(1)
                await other.async_set_flow_data("key", 3, store=there)
                await asyncio.sleep(1)
                await other.async_set_flow_data("key", "stop", store=there)
                await asyncio.sleep(1)
            assert (await other.history(there).state_at("listens")).result == [1, 2, 3, "stop"]


async def test_a_listener_does_not_take_what_was_before_it(open_store: Open) -> None:
    one, other = listener(), listener()
    async with open_store() as here, open_store() as there:
        await other.async_set_flow_data("key", "before", store=there)
        execution = one.create_execution(store=here)
        await execution.async_begin(None)
        await other.async_set_flow_data("key", "stop", store=there)
        assert await execution.async_get_result(timeout=10) == ["stop"]


async def test_listeners_hear_appends_as_whole_lists(open_store: Open) -> None:
    one, other = listener(), listener()
    async with open_store() as here, open_store() as there:
        execution = one.create_execution(store=here)
        await execution.async_begin(None)
        for value in (1, 2):
            await other.async_append_flow_data("key", value, store=there)
        await other.async_del_flow_data("key", store=there)
        await other.async_append_flow_data("key", 3, store=there)
        await other.async_set_flow_data("key", "stop", store=there)
        assert await execution.async_get_result(timeout=10) == [[1], [1, 2], None, [3], "stop"]


async def test_many_changes_are_folded(open_store: Open) -> None:
    """durable: the store folds old changes; a process that comes later reads the same."""
    one, other = adder(), adder()
    async with open_store() as here:
        for i in range(250):
            await run(one, here, i)
        log = await here.shared("log")
        assert len(log.changes) <= 110
        async with open_store() as there:
            assert await run(other, there, 250) == list(range(251))


async def test_a_listener_far_behind_gets_every_change(open_store: Open) -> None:
    one, other = listener(), listener()
    async with open_store() as here:
        execution = one.create_execution(store=here, id="listens")
        await execution.async_begin(None)
        await execution.async_suspend()
    async with open_store() as there:
        for i in range(250):
            await other.async_set_flow_data("key", i, store=there)
        await other.async_set_flow_data("key", "stop", store=there)
        assert len((await there.shared("alarm")).changes) == 251
        again = await other.async_resume("listens", store=there)
        assert await again.async_get_result(timeout=10) == [*range(250), "stop"]
        await other.create_execution(store=there).async_begin(0)  # this one listens, too, but has not missed anything
        for i in range(250):
            await other.async_set_flow_data("quiet", i, store=there)
            if i % 10 == 0:
                await asyncio.sleep(0.1)
        assert len((await there.shared("alarm")).changes) <= 120


async def test_a_sub_flow_keeps_its_copy_when_it_is_parked_and_when_its_process_ends(open_store: Open) -> None:
    """guide/sub-flows: a sub-flow has a copy of its own; parking it or going on elsewhere changes nothing."""

    def nested() -> TriggerFlow:
        sub, flow = TriggerFlow("sub"), TriggerFlow("outer")

        @sub.chunk("first")
        async def first(data: Data) -> None:
            data.flow_state.set("own", 5)
            data.flow_state.append("given", "more")
            data.flow_state.append("given", "still more")
            data.flow_state.delete("gone")
            data.pause_for(payload="?", interrupt_id="q")

        @sub.chunk("second")
        async def second(data: Data) -> Any:
            return {key: data.flow_state.get(key, "none") for key in ("own", "given", "gone", "base")}

        sub.to(first).to(second).end()
        flow.to_sub_flow(sub, capture={"flow_data": {"given": "value", "gone": "value"}}).end()
        sub.set_flow_data("base", "of the process")
        return flow

    expected = {"own": 5, "given": ["list", "more", "still more"], "gone": "none", "base": "of the process"}
    one, other = nested(), nested()
    async with open_store() as here, Worker(here, one, poll=0.1):
        execution = one.create_execution(store=here, id="1")
        await execution.async_begin(["list"])
        await asyncio.sleep(1)
        assert (await here.find(execution.id)).owner is None  # it is parked
    async with open_store() as there:
        again = await other.async_resume("1", store=there)
        [question] = again.get_pending_interrupts()
        await again.async_continue_with(question, "go on")
        assert await again.async_get_result(timeout=10) == expected
        assert await other.async_get_flow_data("own", store=there) is None


async def test_own_changes_are_seen_at_once_and_those_of_others_when_they_are_committed(open_store: Open) -> None:
    """guide/state: an execution reads its own changes at once, and those of others when they are committed."""
    flow = TriggerFlow("f")
    seen: list[Any] = []

    @flow.chunk("change")
    async def change(data: Data) -> None:
        data.flow_state.append("k", data.value)
        seen.append(list(data.flow_state.get("k")))
        data.flow_state.append("k", -data.value)
        seen.append(list(data.flow_state.get("k")))

    flow.to(change).end()
    async with open_store() as store:
        await asyncio.gather(*(run(flow, store, i) for i in (1, 2)))
        assert await flow.async_get_flow_data("k", store=store) == [1, -1, 2, -2]
    assert seen == [[1], [1, -1], [2], [2, -2]]


async def test_async_get_reads_what_was_committed_before_the_call(open_store: Open) -> None:
    one, other = TriggerFlow("f"), TriggerFlow("f")
    go = asyncio.Event()

    @one.chunk("wait")
    async def wait(data: Data) -> Any:
        await go.wait()
        return await data.flow_state.async_get("k")

    one.to(wait).end()
    async with open_store() as here, open_store() as there:
        execution = one.create_execution(store=here)
        await execution.async_begin(None)
        await other.async_set_flow_data("k", 1, store=there)
        go.set()
        assert await execution.async_get_result() == 1


async def test_what_cannot_be_recorded_changes_nothing(open_store: Open) -> None:
    flow = TriggerFlow("f")

    @flow.chunk("bad")
    async def bad(data: Data) -> Any:
        data.flow_state.set("k", 1)
        with pytest.raises(PayloadError, match=r"flow_data\['k'\]"):
            data.flow_state.set("k", object())
        with pytest.raises(TypeError, match="only a list"):
            data.flow_state.append("k", 2)
        return data.flow_state.get("k")

    flow.to(bad).end()
    async with open_store() as store:
        assert await run(flow, store, None) == 1
        with pytest.raises(PayloadError, match=r"flow_data\['k'\]"):
            await flow.async_set_flow_data("k", object(), store=store)
        with pytest.raises(TypeError, match="only a list"):
            await flow.async_append_flow_data("k", 1, store=store)
        assert await flow.async_get_flow_data("k", store=store) == 1


async def test_a_repeated_chunk_changes_once_what_it_had_changed_before_its_process_ended(open_store: Open) -> None:
    """guide/state: a change is made once, also if the process ends or the chunk is repeated."""

    def appending(stops: bool) -> TriggerFlow:
        flow = TriggerFlow("f")

        @flow.chunk("append")
        async def append(data: Data) -> Any:
            data.flow_state.append("log", "once")
            data.flow_state.append("log", "once more")
            await data.async_put_into_stream("changed")
            if stops:
                await asyncio.sleep(1000)
            data.flow_state.append("log", "later")
            return list(data.flow_state.get("log"))

        flow.to(append).end()
        return flow

    async with open_store() as here:
        execution = appending(stops=True).create_execution(store=here, id="1")
        async for _ in execution.get_async_runtime_stream(None):
            break
        await execution.async_suspend()
    async with open_store() as there:
        again = await appending(stops=False).async_resume("1", store=there)
        assert await again.async_get_result() == ["once", "once more", "later"]


async def test_a_change_of_an_execution_that_another_process_has_taken_over_is_not_made(open_store: Open) -> None:
    """durable: a change is committed with the records of its chunk, or not at all."""
    flow, other = TriggerFlow("f"), TriggerFlow("f")
    go = asyncio.Event()

    @flow.chunk("change")
    async def change(data: Data) -> None:
        await go.wait()
        data.flow_state.append("log", 1)

    @other.chunk("change")
    async def changes(data: Data) -> None:
        data.flow_state.append("log", 2)

    flow.to(change)
    other.to(changes)
    async with open_store() as here, open_store() as there:
        execution = flow.create_execution(store=here, id="1")
        await execution.async_begin(None)
        await here.release(["1"])  # as if it were dead
        again = await other.async_resume("1", store=there)
        await again.async_get_result()
        go.set()
        await asyncio.sleep(1)
        assert await flow.async_get_flow_data("log", store=there) == [2]


async def test_a_fork_and_a_loaded_execution_listen_from_then_on(open_store: Open, tmp_path: Path) -> None:
    one, other = listener(), listener()
    async with open_store() as here:
        execution = one.create_execution(store=here, id="first")
        await execution.async_begin(None)
        await one.async_set_flow_data("key", "early", store=here)
        await asyncio.sleep(1)
        await execution.async_suspend()
        records = (await here.find("first")).records
        await one.history(here).fork("first", at=records, new_id="fork")
        await one.history(here).export("first", tmp_path / "first.jsonl")
        await one.history(here).load(tmp_path / "first.jsonl", id="loaded")
        await here.release(["fork", "loaded"])
    async with open_store() as there, Worker(there, other, poll=0.1):
        await other.async_set_flow_data("key", "late", store=there)
        await asyncio.sleep(1)
        await other.async_set_flow_data("key", "stop", store=there)
        await asyncio.sleep(1)
        for id in ("first", "fork", "loaded"):
            assert (await other.history(there).state_at(id)).result == ["early", "late", "stop"], id


async def test_a_new_definition_listens_to_other_keys(open_store: Open) -> None:
    def listening(key: str) -> TriggerFlow:
        flow = TriggerFlow("f")

        @flow.chunk("heard")
        async def heard(data: Data) -> Any:
            return data.value

        flow.when({"flow_data": key}).to(heard).end()
        flow.when(flow.signal("stay", external=True)).to(heard)
        return flow

    one, other = listening("old"), listening("new")
    async with open_store() as here:
        execution = one.create_execution(store=here, id="1")
        await execution.async_begin(None)
        await execution.async_suspend()
    async with open_store() as there, Worker(there, other, poll=0.1):
        again = await other.async_resume("1", store=there)
        await asyncio.sleep(1)
        await other.async_set_flow_data("old", 1, store=there)
        await other.async_set_flow_data("new", 2, store=there)
        await asyncio.sleep(1)
        assert (await there.find("1")).status == "completed"
        assert (await other.history(there).state_at("1")).result == 2
        del again


async def test_a_retried_execution_listens_again(open_store: Open) -> None:
    flow = TriggerFlow("f")
    works = False

    @flow.chunk("fail")
    async def fail(data: Data) -> None:
        if not works:
            raise ValueError("not yet")

    @flow.chunk("heard")
    async def heard(data: Data) -> Any:
        return data.value

    flow.to(fail)
    flow.when({"flow_data": "key"}).to(heard).end()
    flow.when(flow.signal("stay", external=True)).to(heard)
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="1")
        with pytest.raises(ValueError, match="not yet"):
            await execution.async_start(None)
        await flow.async_set_flow_data("key", "while it had failed", store=store)
        works = True
        again = await flow.async_retry("1", store=store)
        await asyncio.sleep(1)
        await flow.async_set_flow_data("key", "heard", store=store)
        assert await again.async_get_result(timeout=10) == "heard"


def test_scripts_change_the_data_with_plain_calls(tmp_path: Path) -> None:
    """guide/state: `flow.set_flow_data(..., store=store)`; without a store it is the data of this process."""
    flow = adder()
    flow.set_flow_data("log", ["of this process"])
    with SQLiteStore(tmp_path / "runs.db") as store:
        assert flow.get_flow_data("log") == ["of this process"]
        assert flow.get_flow_data("log", "nothing", store=store) == "nothing"
        flow.append_flow_data("log", 1, store=store)
        assert flow.create_execution(store=store).start(2) == [1, 2]
        assert flow.get_flow_data("log", store=store) == [1, 2]
        flow.del_flow_data("log", store=store)
        assert flow.get_flow_data("log", store=store) is None


async def test_a_plain_call_does_not_block_the_loop(open_store: Open) -> None:
    flow = adder()
    async with open_store() as store:
        with pytest.raises(BlockingCallError, match=r"await flow\.async_set_flow_data"):
            flow.set_flow_data("log", 1, store=store)


async def test_threads_read_and_change_shared_data(open_store: Open) -> None:
    flow = TriggerFlow("f")

    def count(data: Data) -> int:
        data.flow_state.append("seen", data.value)
        return len(data.flow_state.get("seen"))

    flow.for_each(concurrency=4).to(flow.chunk("count")(count)).end_for_each().end()
    async with open_store() as store:
        found = await run(flow, store, list(range(40)))
        assert sorted(await flow.async_get_flow_data("seen", store=store)) == list(range(40))
        assert max(found) == 40


async def test_flows_that_are_made_again_and_again_leave_nothing_behind() -> None:
    """A service may make its flow anew for each request."""

    def views() -> int:
        gc.collect()
        return sum(isinstance(it, SharedView) for it in gc.get_objects())

    async with MemoryStore() as store:
        kept = adder().create_execution(store=store)
        for number in range(20):
            assert len(await run(adder(), store, number)) == number + 1
        few = views()
        for number in range(20, 40):
            await run(adder(), store, number)
        assert views() == few
        assert len(await kept.async_start("last")) == 41


async def test_a_change_during_a_fold_is_folded_by_the_next_one() -> None:
    class BusyStore(MemoryStore):
        """Another process makes a change while this one folds for the first time."""

        folds = 0

        async def fold_shared(self, flow: str, values: Mapping[str, tuple[int, bytes | None]]) -> list[str]:
            """See `Store.fold_shared`."""
            self.folds += 1
            if self.folds == 1:
                await self.change_shared(flow, [SharedChange(key="early", op="set", data=b"1")])
                await view.refresh()
            return await super().fold_shared(flow, values)

    async with BusyStore() as store:
        view = SharedView(store, "flow", Types())
        await view.change("set", "early", 0, emit=True)
        await view.fold()
        assert [(it.key, it.number) for it in (await store.shared("flow")).changes] == [("early", 2)]
        await view.change("set", "late", 0, emit=True)
        await view.fold()
        log = await store.shared("flow")
        assert log.changes == []
        assert {key: data for key, (_, data) in log.values.items()} == {"early": b"1", "late": b"0"}
