"""Timers: delays and deadlines as signals, driven by the core's time."""

import asyncio
from typing import Any

import pytest

from tests.support import now, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


def at() -> float:
    return round(now(), 1)


@pytest.mark.parametrize("seconds", [0, 0.5, 5, 100_000])
async def test_a_timer_fires_once_so_many_seconds_after_the_start(seconds: float) -> None:
    """`when({"timer": s})`: with the value that the execution was started with."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> Any:
        seen.append((data.value, at()))
        return "timed"

    flow.when({"timer": seconds}).to(note).end()
    assert await flow.async_start("go") == "timed"
    assert seen == [("go", seconds)]


async def test_several_timers_and_listeners() -> None:
    """Each timer fires for each of its listeners, in order of time."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append((data.chunk_name, at()))

    for name, seconds in (("c", 9), ("a", 3), ("b", 3), ("d", 9.5)):
        flow.when({"timer": seconds}).to((name, note))
    flow.when({"timer": [1, 2]}, mode="and").to(("both", note))
    await flow.async_start()
    assert seen == [("both", 2), ("a", 3), ("b", 3), ("c", 9), ("d", 9.5)]


async def test_a_timer_beside_an_event() -> None:
    """A deadline as a signal: whichever comes first."""
    flow = TriggerFlow()
    flow.when({"timer": 10, "event": "answer"}, mode="or").to(("first", lambda data: data.value[0])).end()
    for answer, expected in ((5, "event"), (15, "timer")):
        execution = flow.create_execution()
        execution.begin("go")
        await asyncio.sleep(answer)
        if expected == "event":
            await execution.async_emit("answer", 1)
        assert await execution.async_get_result() == expected


@pytest.mark.parametrize("seconds", [-1, "5", None, True, float("nan"), float("inf"), [1, -1], []])
def test_what_is_no_number_of_seconds_is_an_error_of_the_definition(seconds: Any) -> None:
    """A timer that could never fire is told while the flow is written."""
    with pytest.raises(DefinitionError):
        TriggerFlow().when({"timer": seconds})


async def test_a_deadline_does_not_hold_up_a_finished_execution() -> None:
    """S6: "closes at once": a deadline guards an execution that is looking for its result, not one that has it."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value)

    flow.to(lambda data: "result").end()
    flow.when({"timer": 1_000}).to(note)
    assert await flow.async_start() == "result"
    assert now() < 1
    await asyncio.sleep(2_000)
    assert seen == []


async def test_a_delayed_signal_is_fired_when_its_time_has_come() -> None:
    """`emit(delay=)`: "the signal is fired when the time has come; the execution waits for it"."""
    flow, seen = TriggerFlow(), list[Any]()

    async def start(data: Data) -> str:
        await data.async_emit("later", "a", delay=10)
        data.emit("later", "b", delay=5)
        await data.async_emit("later", "c", delay=0)
        seen.append(("emitted", at()))
        return "result"

    async def note(data: Data) -> None:
        seen.append((data.value, at()))

    flow.to(start).end()
    flow.when("later").to(note)
    assert await flow.async_start() == "result"
    assert seen == [("emitted", 0), ("c", 0), ("b", 5), ("a", 10)]


async def test_a_sync_chunk_can_delay_a_signal() -> None:
    """S13: sync chunks do the same."""
    flow = TriggerFlow()
    flow.to(lambda data: data.emit("later", 1, delay=50))
    flow.when("later").to(echo).end()
    assert await flow.async_start() == 1
    assert now() == pytest.approx(50, abs=1)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "5"])
async def test_a_delay_that_makes_no_sense_is_the_chunks_error(delay: Any) -> None:
    """S7: "Nothing hangs": a delay that can never pass is refused at once."""
    flow = TriggerFlow()

    async def start(data: Data) -> None:
        await data.async_emit("later", delay=delay)

    flow.to(start)
    flow.when("later").to(echo)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        await flow.async_start(timeout=10)
    assert now() == 0


async def test_settle_with_a_delay_waits_for_the_time_too() -> None:
    """S3: "`settle=True` waits until everything it caused has settled", also where that has not begun yet."""
    flow, seen = TriggerFlow(), list[Any]()

    async def start(data: Data) -> None:
        await data.async_emit("later", delay=10, settle=True)
        seen.append(("settled", at()))

    async def note(data: Data) -> None:
        await asyncio.sleep(1)
        seen.append(("later", at()))

    flow.to(start)
    flow.when("later").to(note)
    await flow.async_start()
    assert seen == [("later", 11), ("settled", 11)]


async def test_settle_waits_for_delayed_signals_that_its_own_have_caused() -> None:
    """S3: "`settle=True` waits until *everything* it caused has settled": the delayed signals of who it started too."""
    flow, seen = TriggerFlow(), list[Any]()

    async def start(data: Data) -> None:
        await data.async_emit("now", settle=True)
        seen.append(("settled", at()))
        number = await data.async_emit("guess", provisional=True)
        await data.async_emit("waits", settle=True)
        seen.append(("retracted", at(), number > 0))

    async def later(data: Data) -> None:
        await data.async_emit("later", delay=10)

    async def retracts(data: Data) -> None:
        number = await data.async_emit("later", delay=1000, provisional=True)
        await asyncio.sleep(5)
        await data.async_retract(number, "no")

    async def note(data: Data) -> None:
        seen.append(("later", at()))

    flow.to(start)
    flow.when("now").to(("now", later))
    flow.when("waits").to(retracts)
    flow.when("later").to(note)
    await flow.async_start()
    assert seen == [("later", 10), ("settled", 10), ("retracted", 15, True)]


@pytest.mark.parametrize("end", ["cancel", "failure"])
async def test_an_early_end_cleans_timers_up(end: str) -> None:
    """S8, S7: what was due later never comes, and the loop is left with nothing to do."""
    flow, seen = TriggerFlow(), list[Any]()

    async def note(data: Data) -> None:
        seen.append(data.value)

    async def start(data: Data) -> None:
        await data.async_emit("later", delay=100)
        await asyncio.sleep(5)
        if end == "failure":
            raise ValueError("broken")
        await asyncio.sleep(500)

    flow.to(start)
    flow.when("later").to(note)
    flow.when({"timer": 50}).to(("deadline", note))
    flow.to(("asks", lambda data: data.pause_for(expires=60)))
    execution = flow.create_execution()
    execution.begin()
    await asyncio.sleep(4)
    if end == "cancel":
        await execution.async_cancel()
    else:
        with pytest.raises(ValueError, match="broken"):
            await execution.async_get_result()
    loop: Any = asyncio.get_running_loop()
    await turns()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # noqa: SLF001 - asyncio has no other way
    await asyncio.sleep(1_000)
    assert seen == []


async def test_a_delay_that_nobody_hears_holds_nobody_up() -> None:
    """S4: "A signal nobody listens to is recorded": there is nothing to wait for."""
    flow = TriggerFlow()

    async def start(data: Data) -> None:
        await data.async_emit("nothing", delay=100)

    flow.to(start)
    await flow.async_start()
    assert now() == 0


async def test_a_loop_by_delayed_signals() -> None:
    """A chunk that wakes itself every minute, a thousand times."""
    flow = TriggerFlow()

    async def tick(data: Data) -> Any:
        count = (data.value or 0) + 1
        if count < 1_000:
            await data.async_emit("wake", count, delay=60)
        else:
            data.set_result(count)

    flow.to(tick)
    flow.when("wake").to(("again", tick))
    assert await flow.async_start(0) == 1_000
    assert now() == pytest.approx(999 * 60, rel=0.001)
