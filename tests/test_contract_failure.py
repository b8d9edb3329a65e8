"""The contract's line on failures (S7): who is told, when, and with what."""

import asyncio
import logging
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from tests.support import drain, now, read, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ExecutionClosed

Data = TriggerFlowRuntimeData[Any]
ERROR = ValueError("broken")


async def echo(data: Data) -> Any:
    return data.value


async def sleeper(data: Data) -> None:
    await asyncio.sleep(100)


async def broken(data: Data) -> None:
    raise ERROR


def broken_sync(data: Data) -> None:
    raise ERROR


def failing_flow(place: str) -> TriggerFlow:
    """A flow whose chunk `broken` raises `ERROR` at time 0, while another chunk sleeps for 100 s."""
    flow = TriggerFlow(name="brief")

    async def source(data: Data) -> None:
        data.state.set("k", 1)
        await data.async_emit("e", settle=place == "settled event")

    match place:
        case "first branch of a batch":
            flow.batch(("broken", broken), sleeper)
        case "last branch of a batch":
            flow.batch(sleeper, ("broken", broken))
        case "chain":
            flow.to(("first", echo)).to(("broken", broken)).to(("never", sleeper))
        case "after a turn of the loop":
            flow.to(lambda data: asyncio.sleep(0)).to(("broken", broken))
        case "event" | "settled event":
            flow.to(source)
            flow.when("e").to(("broken", broken))
        case "state":
            flow.to(source)
            flow.when({"runtime_data": "k"}).to(("broken", broken))
        case "side branch":
            flow.side_branch(("broken", broken)).to(("beside", echo))
        case "thread":
            flow.to(("broken", broken_sync))
        case "inline":
            flow.to(flow.chunk("broken", inline=True)(broken_sync))
        case _:
            raise AssertionError(place)
    flow.to(("slow", sleeper))
    return flow


PLACES = (
    "first branch of a batch", "last branch of a batch", "chain", "after a turn of the loop", "event", "settled event",
    "state", "side branch", "thread", "inline",
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean_error() -> None:
    ERROR.__notes__ = []
    ERROR.__traceback__ = ERROR.__context__ = None


@pytest.mark.parametrize("concurrency", [None, 1])
@pytest.mark.parametrize("place", PLACES)
async def test_s07_every_waiter_and_reader_gets_the_original_exception_at_once(
    place: str, concurrency: int | None
) -> None:
    """S7: "A chunk's exception ... fails the execution: running siblings are cancelled, every waiter and stream reader
    gets the original exception with a note that names flow, chunk and execution. Nothing hangs after a failure." """
    execution = failing_flow(place).create_execution(concurrency=concurrency, id="run-7")
    waits = [
        execution.async_start("go"),
        execution.async_get_result(),
        execution.async_get_result(timeout=1_000),
        read(execution.get_async_runtime_stream("go")),
        read(execution.get_async_runtime_stream(timeout=1_000, lag="drop_oldest")),
    ]
    if concurrency is None:
        answers = await asyncio.gather(*waits, return_exceptions=True)
        assert now() < 1
    else:
        answers = await asyncio.gather(*waits, return_exceptions=True)
        assert now() <= 101, "only a sleeper that came first may have held the one place"
    assert all(answer is ERROR for answer in answers)
    assert execution.get_status() == "failed"
    note = " ".join(ERROR.__notes__)
    assert "'broken'" in note
    assert "brief" in note
    assert "run-7" in note
    assert len(ERROR.__notes__) == 1
    for late in (execution.async_start("go"), execution.async_get_result(), read(execution.get_async_runtime_stream())):
        with pytest.raises(ValueError, match="broken"):
            await late


async def test_s07_failure_reaches_an_emitter_outside_that_waits_for_settling() -> None:
    """S7: "every waiter ... gets the original exception": who waits for its signal to settle is a waiter."""
    flow = TriggerFlow()
    flow.when(flow.signal("go", external=True)).to(sleeper)
    flow.when("break").to(broken)
    execution = flow.create_execution()
    execution.begin()
    answers = await asyncio.gather(
        execution.async_emit("go", settle=True), execution.async_emit("break", settle=True), return_exceptions=True
    )
    assert answers == [ERROR, ERROR]


async def test_s07_running_siblings_are_cancelled_and_cleaned_up_before_anybody_is_told() -> None:
    """S7: "running siblings are cancelled": their clean-up is over when a waiter learns of the failure."""
    flow, seen = TriggerFlow(), list[str]()

    async def careful(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            data.state.set("cleaned", True)
            await data.async_put_into_stream("cleaned up")
            await data.async_emit("after")
            seen.append("cleaned up")

    async def later(data: Data) -> None:
        await asyncio.sleep(2)
        raise ERROR

    async def never(data: Data) -> None:
        seen.append("never")

    flow.batch(careful, later).to(("joined", never))
    flow.when("after").to(("emitted", never))
    flow.when({"runtime_data": "cleaned"}).to(("stated", never))
    execution = flow.create_execution()
    assert await drain(execution.get_async_runtime_stream("go")) == (["cleaned up"], ERROR)
    assert now() == 3
    assert seen == ["cleaned up"]
    assert execution.state.to_dict() == {"cleaned": True}


async def test_s07_the_failure_comes_after_the_last_item() -> None:
    """S7 and S16: readers get every item that was put before the failure, also those who come later."""
    flow = TriggerFlow()

    async def chunk(data: Data) -> None:
        for number in range(3):
            await data.async_put_into_stream(number)
        raise ERROR

    flow.to(chunk)
    execution = flow.create_execution()
    for reader in (execution.get_async_runtime_stream("go"), execution.get_async_runtime_stream()):
        assert await drain(reader) == ([0, 1, 2], ERROR)


async def test_s07_the_first_failure_stands() -> None:
    """S7: what siblings raise while they are being cancelled does not replace the reason."""
    flow = TriggerFlow()

    async def clumsy(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise KeyError("from the clean-up")

    async def also(data: Data) -> None:
        await asyncio.sleep(0)
        raise KeyError("second")

    flow.batch(clumsy, also, ("first", broken))
    with pytest.raises(ValueError, match="broken"):
        await flow.async_start()


async def test_s07_a_failure_in_a_chunk_started_by_shared_data_is_not_swallowed() -> None:
    """S7: it does not matter who triggered the chunk that raised."""
    flow = TriggerFlow()
    flow.when({"flow_data": "k"}).to(broken)
    flow.when(flow.signal("stay", external=True)).to(echo)
    execution = flow.create_execution()
    execution.begin()
    await turns()
    await flow.async_set_flow_data("k", 1)
    with pytest.raises(ValueError, match="broken"):
        await execution.async_get_result()


async def test_s07_a_failure_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """S7: nothing fails in silence; and who was told does not have to read it in the log as well."""
    caplog.set_level(logging.ERROR, "triggerflow")
    execution = await failing_flow("chain").create_execution(id="lonely").async_open()
    execution.begin()
    await turns()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "lonely" in caplog.records[0].getMessage()
    assert caplog.records[0].exc_info is not None
    caplog.clear()
    with pytest.raises(ValueError, match="broken"):
        await failing_flow("chain").async_start()
    assert not caplog.records


async def test_s07_queued_chunks_do_not_start_after_a_failure() -> None:
    """S7: a failed execution starts nothing any more, whether a run had a place or still waited for one."""
    flow, started = TriggerFlow(), list[int]()

    async def work(data: Data) -> None:
        started.append(1)
        await asyncio.sleep(1)
        raise ERROR

    flow.batch(*((f"work{number}", work) for number in range(5)), concurrency=2)
    with pytest.raises(ValueError, match="broken"):
        await flow.async_start()
    await asyncio.sleep(10)
    assert len(started) == 2
    assert now() == 11


async def test_s07_a_sync_sibling_in_a_thread_is_waited_for() -> None:
    """S7: a thread cannot be interrupted; the failure is told when it has ended, not while it still runs."""
    flow, seen = TriggerFlow(), list[str]()
    has_started, gate = threading.Event(), threading.Event()

    def thread(data: Data) -> None:
        has_started.set()
        gate.wait(5)
        time.sleep(0.01)
        seen.append("thread")

    async def fail(data: Data) -> None:
        await asyncio.to_thread(has_started.wait)  # a call whose thread has not begun is cancelled
        gate.set()
        raise ERROR

    flow.batch(thread, fail)
    with pytest.raises(ValueError, match="broken"):
        await flow.async_start()
    assert seen == ["thread"]


# -- skip_exceptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["flow", "execution"])
async def test_s07_skip_exceptions_ends_only_the_failing_branch(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """S7: "`skip_exceptions=True` ends only the failing branch and keeps the error in the record." """
    caplog.set_level(logging.WARNING, "triggerflow")
    flow, seen = TriggerFlow(skip_exceptions=where == "flow"), list[Any]()

    async def note(data: Data) -> Any:
        seen.append((data.chunk_name, data.value))
        return data.value

    async def slow(data: Data) -> str:
        await asyncio.sleep(1)
        return "slow"

    flow.to(("chain", broken)).to(("after chain", note))
    flow.batch(("bad", broken), slow).to(("joined", note)).end()
    execution = flow.create_execution(skip_exceptions=None if where == "flow" else True)
    assert await execution.async_start() is None
    assert execution.get_status() == "completed"
    assert seen == [], "a batch without one of its values does not go on"
    assert [(error.type, error.message, error.chunk) for error in execution.skipped] == [
        ("ValueError", "broken", "chain"),
        ("ValueError", "broken", "bad"),
    ]
    failures = [record for record in execution.records if type(record).__name__ == "Failed"]
    assert len(failures) == 2
    lines = [record.getMessage() for record in caplog.records if "skip_exceptions" in record.getMessage()]
    assert len(lines) == 2
    assert all("ValueError: broken" in line for line in lines)


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_s07_a_skipped_chunk_gives_its_place_back_and_settles(concurrency: int) -> None:
    """S7 with S3 and S9: a skipped failure leaves no limit taken and no waiter waiting."""
    flow = TriggerFlow(skip_exceptions=True)

    async def source(data: Data) -> float:
        for _ in range(5):
            await data.async_emit("e", settle=True)
        return now()

    async def fail(data: Data) -> None:
        await asyncio.sleep(1)
        raise ERROR

    flow.to(source).end()
    flow.when("e").to(fail)
    assert await flow.async_start(concurrency=concurrency) == 5


async def test_s07_a_skipped_side_branch_fills_no_slot() -> None:
    """S7: the failing branch ends, and a branch beside it is not taken for it."""
    flow = TriggerFlow(skip_exceptions=True)
    flow.batch(("left", echo), ("right", echo)).side_branch(broken).to(("last", echo)).end()
    assert await flow.async_start(1) == {"left": 1, "right": 1}


async def test_s07_after_a_failure_it_takes_nothing_more() -> None:
    """S7 and S6: a chunk that outlives the failure of its execution learns it at its next call."""
    flow, outcome = TriggerFlow(), list[str]()

    async def stubborn(data: Data) -> None:
        while now() < 10:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(10 - now())
        try:
            data.state.set("k", 1)
        except ExecutionClosed:
            outcome.append("closed")

    flow.batch(stubborn, broken)
    execution = flow.create_execution(cleanup_timeout=2)
    with pytest.raises(ValueError, match="broken"):
        await execution.async_start()
    assert now() == 2
    await asyncio.sleep(10)
    assert outcome == ["closed"]
    assert execution.state.to_dict() == {}
