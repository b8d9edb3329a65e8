"""Time: delayed signals that are cancelled or that nothing waits for, time limits, delayed starts."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import stores_over
from tests.support import Gauge, external, now, read
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.durable import Worker
from triggerflow.errors import (
    BlockingCallError,
    ContractError,
    DefinitionError,
    ExecutionClosed,
    ExecutionTimedOut,
    OptionError,
    UsageError,
)

Data = TriggerFlowRuntimeData[Any]
HOUR, DAY = 3_600.0, 86_400.0


def noting(seen: list[Any], what: Callable[[Data], Any]) -> Callable[[Data], Any]:
    """A chunk that adds something to a list."""

    async def note(data: Data) -> None:
        seen.append(what(data))

    return note


def sleeps(seconds: float) -> Callable[[Data], Any]:
    """A chunk that only takes time."""

    async def sleep(data: Data) -> None:
        await asyncio.sleep(seconds)

    return sleep


async def echo(data: Data) -> Any:
    return data.value


def reminding(*, keeps_open: bool = True) -> tuple[TriggerFlow, list[Any]]:
    """A flow that reminds somebody in three days, and the values of the reminders."""
    flow, seen = TriggerFlow("reminding"), list[Any]()

    @flow.chunk("begin")
    async def begin(data: Data) -> str:
        for number in range(2):
            await data.async_emit("remind", number, delay=3 * DAY, id=f"reminder {number}", keeps_open=keeps_open)
        return "begun"

    @flow.chunk("reminds")
    async def remind(data: Data) -> None:
        seen.append((data.value, round(now())))

    flow.to(begin).end()
    flow.when("remind").to(remind)
    return flow, seen


# -- cancelling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "left"), [("remind", 2, []), ("reminder 0", 1, [1]), ("begin", 0, [0, 1]), ("", 0, [0, 1])]
)
@pytest.mark.parametrize("by", ["async", "sync", "saved"])
async def test_a_delayed_signal_is_cancelled_by_its_name_or_its_id(
    by: str, name: str, count: int, left: list[int]
) -> None:
    flow, seen = reminding()
    execution = flow.create_execution()
    await execution.async_begin()
    await asyncio.sleep(1)
    if by == "saved":
        data = execution.save()
        await execution.async_cancel()
        execution = flow.load_execution(data)
    cancelled = execution.cancel_signal(name) if by == "sync" else await execution.async_cancel_signal(name)
    assert cancelled == count
    assert await execution.async_get_result() == "begun"
    assert [value for value, _ in seen] == left
    assert now() == (pytest.approx(3 * DAY, abs=1) if left else pytest.approx(0, abs=1))
    assert await execution.async_cancel_signal(name) == 0


@pytest.mark.parametrize("kind", ["async", "sync", "thread"])
async def test_a_chunk_cancels_what_another_has_delayed(kind: str) -> None:
    """As for a reminder that the answer makes needless, while the execution goes on."""
    flow, counts, seen = TriggerFlow(), list[int](), list[Any]()

    async def begin(data: Data) -> None:
        await data.async_emit("remind", delay=50)
        data.emit("remind", delay=60, id="other")
        await data.async_emit("answer", delay=10)

    async def answer(data: Data) -> None:
        if kind == "async":
            counts.append(await data.async_cancel_signal("remind"))
        else:
            counts.append(data.cancel_signal("remind"))
        counts.append(await data.async_cancel_signal("other"))

    def answer_in_thread(data: Data) -> None:
        counts.extend((data.cancel_signal("remind"), data.cancel_signal("other")))

    flow.to(begin)
    flow.when("answer").to(answer_in_thread if kind == "thread" else answer)
    flow.when("remind").to(("remind", noting(seen, lambda data: data.value)))
    await flow.async_start()
    assert counts == [2, 0]
    assert seen == []
    assert now() == pytest.approx(10, abs=1)


async def test_a_wait_for_a_signal_ends_when_the_signal_is_cancelled() -> None:
    """`settle=True` waits for what is pending, and a cancelled signal is not."""
    flow, seen = TriggerFlow(), list[Any]()

    async def waits(data: Data) -> None:
        await data.async_emit("later", delay=100, settle=True)
        seen.append(("settled", now()))

    async def cancels(data: Data) -> None:
        await asyncio.sleep(5)
        seen.append(await data.async_cancel_signal("later"))

    flow.to(waits)
    flow.to(cancels)
    flow.when("later").to(echo)
    await flow.async_start()
    assert seen == [1, ("settled", 5)]


async def test_what_is_not_delayed_any_more_is_not_cancelled() -> None:
    """A retry and a deadline have no name to be cancelled by, and a signal that was emitted runs."""
    flow, seen = TriggerFlow(), list[Any]()

    async def begin(data: Data) -> None:
        await data.async_emit("work", delay=1)

    async def work(data: Data) -> None:
        seen.append(await data.async_cancel_signal("work"))
        if data.attempt == 1:
            raise ValueError("again")
        seen.append("worked")

    async def late(data: Data) -> None:
        seen.append("deadline")

    flow.to(begin)
    flow.when("work").to(flow.chunk("work", retry=Retry(2, initial_interval=5, jitter=0))(work))
    flow.when({"timer": 9}).to(late)
    execution = flow.create_execution()
    await execution.async_begin()
    await asyncio.sleep(3)
    assert [await execution.async_cancel_signal(name) for name in ("work", "9", "late", "timer")] == [0, 0, 0, 0]
    await execution.async_get_result()
    assert seen == [0, 0, "worked", "deadline"]


async def test_a_repeated_attempt_does_not_cancel_what_came_after() -> None:
    """The effects of an attempt are recorded once: also the cancellation, with its number."""
    flow, counts, seen = TriggerFlow(), list[Any](), list[Any]()

    async def renew(data: Data) -> None:
        for number in range(2):
            await data.async_emit("remind", ("old", number), delay=20)
            counts.append(await data.async_cancel_signal("remind"))
        await data.async_emit("remind", "new", delay=30)
        if data.attempt == 1:
            raise ValueError("after all of it")

    async def reminds(data: Data) -> None:
        seen.append(data.value)

    flow.to(flow.chunk("renew", retry=Retry(2, initial_interval=1, jitter=0))(renew))
    flow.when("remind").to(reminds)
    await flow.async_start()
    assert counts == [1, 1, 1, 1]
    assert seen == ["new"]


@pytest.mark.parametrize("name", [None, 5, ["remind"]])
async def test_a_name_that_is_none_is_refused(name: Any) -> None:
    flow, _ = reminding()
    with pytest.raises(UsageError, match="by its name or its id, a string"):
        await flow.create_execution().async_cancel_signal(name)


# -- signals that nothing waits for ------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_sub_flow", [False, True])
async def test_a_signal_that_keeps_nothing_open_does_not_hold_the_result_back(in_sub_flow: bool) -> None:
    inner, seen = reminding(keeps_open=False)
    flow = inner if not in_sub_flow else TriggerFlow("outer")
    if in_sub_flow:
        flow.to_sub_flow(inner).end()
    assert await flow.async_start() == "begun"
    await asyncio.sleep(9 * DAY)
    assert seen == []


async def test_a_signal_that_keeps_nothing_open_comes_while_something_else_does() -> None:
    """An open question keeps the execution: the reminder comes, also from a saved and loaded execution."""
    flow, seen = TriggerFlow(), list[Any]()

    @flow.chunk("ask")
    async def ask(data: Data) -> Any:
        await data.async_emit("remind", delay=DAY, keeps_open=False)
        return await data.async_pause_for(interrupt_id="q")

    @flow.chunk("reminds")
    async def remind(data: Data) -> None:
        seen.append(round(now()))
        await data.async_emit("remind", delay=DAY, keeps_open=False)

    flow.to(ask).end()
    flow.when("remind").to(remind)
    execution = flow.create_execution()
    await execution.async_begin()
    await asyncio.sleep(1.5 * DAY)
    saved = execution.save()
    await execution.async_cancel()
    execution = flow.load_execution(saved)
    result = asyncio.create_task(execution.async_get_result())
    await asyncio.sleep(DAY)
    await execution.async_continue_with("q", "yes")
    assert await result == "yes"
    assert seen == [DAY, 2 * DAY]


async def test_no_wait_and_no_limit_on_pending_signals_counts_them() -> None:
    flow, seen = TriggerFlow(), list[Any]()

    async def outer(data: Data) -> None:
        await data.async_emit("inner", settle=True)
        seen.append(now())

    async def inner(data: Data) -> None:
        for number in range(10):
            await data.async_emit("later", number, delay=100, keeps_open=False)

    flow.to(outer)
    flow.when("inner").to(inner)
    flow.when("later").to(echo)
    execution = flow.create_execution(max_pending=2)
    assert await execution.async_start() is None
    assert seen == [0]


async def test_it_is_retracted_with_the_guess_that_sent_it() -> None:
    flow, seen = TriggerFlow(), list[Any]()

    async def guess(data: Data) -> None:
        number = await data.async_emit("guess", provisional=True)
        await asyncio.sleep(1)
        await data.async_retract(number, "wrong")
        await asyncio.sleep(50)

    async def delays(data: Data) -> None:
        await data.async_emit("later", delay=20, keeps_open=False)

    flow.to(guess)
    flow.when("guess").to(delays)
    flow.when("later").to(("note", noting(seen, lambda data: data.value)))
    await flow.async_start()
    assert seen == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keeps_open": False}, "keeps_open= is for a delayed signal; add delay=seconds"),
        ({"id": "x"}, "id= is for a delayed signal; add delay=seconds"),
        ({"delay": 1, "id": ""}, "a non-empty string"),
        ({"delay": 1, "id": 5}, "a non-empty string"),
        ({"delay": 1, "keeps_open": 0}, "keeps_open is True or False"),
        ({"delay": 1, "keeps_open": False, "settle": True}, "exclude each other"),
        ({"delay": "1"}, "a delay must be a finite number of seconds"),
    ],
)
@pytest.mark.parametrize("by", ["chunk", "handle"])
async def test_options_that_make_no_sense_together_are_refused(by: str, options: Any, words: str) -> None:
    flow = TriggerFlow()
    external(flow, "later")

    async def emits(data: Data) -> None:
        await data.async_emit("later", **options)

    flow.to(emits if by == "chunk" else echo)
    flow.when("later").to(echo)
    execution = flow.create_execution()
    call = execution.async_start() if by == "chunk" else execution.async_emit("later", **options)
    with pytest.raises(UsageError, match=words):
        await call
    await execution.async_cancel()


@pytest.mark.parametrize("how", ["async", "now"])
async def test_the_holder_of_a_handle_can_delay_a_signal(how: str) -> None:
    flow, seen = TriggerFlow(), list[Any]()
    flow.to(echo)
    flow.when(flow.signal("later", external=True)).to(("note", noting(seen, lambda data: data.value)))
    execution = flow.create_execution()
    await execution.async_begin()
    for number in range(2):
        if how == "async":
            await execution.async_emit("later", number, delay=10, id=f"n{number}")
        else:
            execution.emit("later", number, delay=10, id=f"n{number}")
    assert await execution.async_cancel_signal("n0") == 1
    await execution.async_close()
    assert seen == [1]


# -- the time limit of an execution ------------------------------------------------------------------------------------


def endless(kind: str) -> TriggerFlow:
    """A flow that never ends by itself, for another reason each."""
    flow = TriggerFlow(kind)
    external(flow, "never") if kind == "waits" else None

    async def chunk(data: Data) -> None:
        if kind == "works":
            await asyncio.sleep(1_000)
        elif kind == "asks":
            await data.async_pause_for()
        elif kind == "delays":
            await data.async_emit("never", delay=1_000)
        elif kind == "fails":
            raise ValueError("again")

    flow.to(flow.chunk("chunk", retry=Retry(99, initial_interval=7, jitter=0))(chunk))
    flow.when("never").to(echo)
    if kind == "loops":
        flow.when("turn").to(("turn", lambda data: data.emit("turn", delay=1)))
        flow.to(("first", lambda data: data.emit("turn")))
    return flow


@pytest.mark.parametrize("kind", ["works", "asks", "delays", "fails", "waits", "loops", "kept open"])
async def test_an_execution_fails_at_its_time_limit_whatever_it_waits_for(kind: str) -> None:
    execution = endless(kind).create_execution(execution_timeout=20, keep_open=kind == "kept open")
    await execution.async_begin()
    with pytest.raises(ExecutionTimedOut, match=r"had not ended 20 s after its start"):
        await execution.async_get_result()
    assert (execution.get_status(), now()) == ("failed", pytest.approx(20, abs=1))
    with pytest.raises(ExecutionClosed):
        await execution.async_emit("never")
    with pytest.raises(ExecutionTimedOut):
        await read(execution.get_async_runtime_stream())


@pytest.mark.parametrize("left", ["nothing", "question", "expiring", "timer", "signal", "chunk", "retry"])
@pytest.mark.parametrize("keep_open", [False, True])
async def test_an_execution_with_its_result_fails_at_its_limit_only_if_work_is_left(left: str, keep_open: bool) -> None:
    """An open question is no work: "it completes with its result, and its open questions are closed"."""
    flow = TriggerFlow()

    async def goes_on(data: Data) -> None:
        if left in ("question", "expiring"):
            data.pause_for(interrupt_id="q", expires=1_000 if left == "expiring" else None)
        elif left == "signal":
            await data.async_emit("later", delay=1_000)
        elif left == "chunk":
            await asyncio.sleep(1_000)
        elif left == "retry":
            raise ValueError("again")

    flow.to(echo).end()
    flow.to(flow.chunk("goes on", retry=Retry(9, initial_interval=1_000, maximum_interval=1_000))(goes_on))
    flow.when("later").to(echo)
    if left == "timer":
        flow.when({"timer": 1_000}).to(echo)
    execution = flow.create_execution(execution_timeout=20, keep_open=keep_open)
    await execution.async_begin("result")
    await asyncio.sleep(21)
    if left in ("signal", "chunk", "retry"):
        assert execution.get_status() == "failed"
    else:
        assert (await execution.async_get_result(), execution.get_status()) == ("result", "completed")
        assert execution.get_pending_interrupts() == {}
    if left == "question":
        assert execution.get_interrupt("q")["status"] == "retracted"
        with pytest.raises(ExecutionClosed):
            await execution.async_continue_with("q", "late")


async def test_chunks_clean_up_after_the_time_limit() -> None:
    """`cleanup_timeout` is the other limit: what they have for that."""
    flow, seen = TriggerFlow(), list[Any]()

    async def chunk(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(data.value)
            seen.append("clean")

    flow.to(chunk)
    for seconds, expected in ((1, 11), (50, 13)):
        begun = now()
        with pytest.raises(ExecutionTimedOut):
            await flow.create_execution(execution_timeout=10, cleanup_timeout=3).async_start(seconds)
        assert now() - begun == pytest.approx(expected, abs=0.5)
    assert seen == ["clean"]


async def test_an_execution_that_ends_in_time_hears_nothing_of_its_limit() -> None:
    flow = TriggerFlow(execution_timeout=10)
    flow.to(echo).end()
    assert await flow.async_start(1) == 1
    assert await flow.create_execution().async_start(2) == 2
    assert now() == 0
    loop: Any = asyncio.get_running_loop()
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # noqa: SLF001 - asyncio has no other way
    assert [timer for timer in timers if timer.when() >= 9] == []  # a store may pause for some milliseconds


@pytest.mark.parametrize(
    "start",
    [
        lambda flow: flow.async_start(),
        lambda flow: flow.create_execution().async_start(),
        lambda flow: flow.async_start(execution_timeout=30),
        lambda flow: read(flow.get_async_runtime_stream(execution_timeout=30)),
        lambda flow: flow.create_execution(execution_timeout=30).async_start(),
    ],
)  # fmt: skip
async def test_every_way_to_start_takes_the_limit(start: Callable[[TriggerFlow], Any]) -> None:
    """The flow's limit holds for all its executions; the one of a call goes before it."""
    flow = TriggerFlow(execution_timeout=30)
    flow.to(sleeps(1_000))
    with pytest.raises(ExecutionTimedOut):
        await start(flow)
    assert now() == pytest.approx(30, abs=1)


async def test_infinity_is_no_limit() -> None:
    flow = TriggerFlow(execution_timeout=1)

    async def chunk(data: Data) -> str:
        await asyncio.sleep(5)
        return "done"

    flow.to(chunk).end()
    assert await flow.async_start(execution_timeout=math.inf) == "done"
    assert await flow.create_execution(execution_timeout=math.inf).async_start() == "done"


async def test_a_sub_flow_at_its_limit_is_a_failed_step() -> None:
    inner, outer, seen = TriggerFlow("inner", execution_timeout=5), TriggerFlow("outer"), list[Any]()
    inner.to(sleeps(100))
    outer.to_sub_flow(inner)
    outer.on_error(("note", noting(seen, lambda data: (data.value["type"], now()))))
    await outer.async_start()
    assert seen == [("ExecutionTimedOut", pytest.approx(5, abs=0.5))]


async def test_the_limit_of_a_parent_ends_its_sub_flow() -> None:
    inner, outer, seen = TriggerFlow("inner"), TriggerFlow("outer", execution_timeout=5), list[Any]()

    async def chunk(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            seen.append(now())

    inner.to(chunk)
    outer.to_sub_flow(inner)
    with pytest.raises(ExecutionTimedOut, match="flow 'outer'"):
        await outer.async_start()
    assert seen == [pytest.approx(5, abs=0.5)]


async def test_a_saved_execution_keeps_its_limit() -> None:
    """It counts from the start, and not from the load."""
    flow = endless("asks")
    execution = flow.create_execution(execution_timeout=20)
    await execution.async_begin()
    await asyncio.sleep(15)
    saved = execution.save()
    await execution.async_cancel()
    loaded = flow.load_execution(saved)
    with pytest.raises(ExecutionTimedOut):
        await loaded.async_get_result()
    assert now() == pytest.approx(20, abs=1)


async def test_a_limit_that_was_set_before_the_start_is_saved() -> None:
    flow = endless("works")
    execution = flow.create_execution(execution_timeout=20)
    await execution.state.async_set("key", 1)
    loaded = flow.load_execution(execution.save())
    await execution.async_cancel()
    with pytest.raises(ExecutionTimedOut):
        await loaded.async_start()


async def test_a_loaded_execution_checks_its_result() -> None:
    """The options that it was started with are saved: also that it checks, whose result is recorded."""
    flow = TriggerFlow().set_contract(result=int)
    flow.to(("ask", lambda data: data.pause_for(interrupt_id="q"))).end()
    execution = flow.create_execution()
    await execution.async_begin()
    await execution.async_settled()
    loaded = flow.load_execution(execution.save())
    await execution.async_cancel()
    await loaded.async_continue_with("q", "text")
    with pytest.raises(ContractError):
        await loaded.async_get_result()
    assert [type(record).__name__ for record in loaded.records][-1] == "ResultRejected"


@pytest.mark.parametrize("value", ["5", True, 0, -1, float("nan"), [5]])
async def test_what_is_no_time_limit_is_refused_where_it_is_given(value: Any) -> None:
    flow = TriggerFlow()
    flow.to(echo)
    for call in (TriggerFlow, flow.create_execution):
        with pytest.raises(DefinitionError, match="execution_timeout must be a number of seconds, more than 0"):
            call(execution_timeout=value)
    with pytest.raises(DefinitionError, match="execution_timeout"):
        await flow.async_start(execution_timeout=value)


@pytest.mark.parametrize("name", ["timeout", "deadline"])
def test_a_name_that_could_be_either_limit_names_both(name: str) -> None:
    for call in (TriggerFlow, TriggerFlow().create_execution):
        with pytest.raises(OptionError, match=r"execution_timeout= is the limit for the whole .* cleanup_timeout="):
            call(**{name: 5})  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", ["5", True, -1, float("nan")])
async def test_a_patience_that_is_none_is_refused(timeout: Any) -> None:
    flow = TriggerFlow()
    flow.to(echo)
    execution = flow.create_execution()
    for call in (flow.async_start, execution.async_start, execution.async_get_result, execution.async_settled):
        with pytest.raises(DefinitionError, match="timeout must be a number of seconds, 0 or more"):
            await call(timeout=timeout)
    await execution.async_cancel()


# -- delayed starts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["flow", "execution", "begin", "async_begin", "saved"])
async def test_the_work_begins_after_the_delay(start: str) -> None:
    flow, seen = TriggerFlow(execution_timeout=8), list[Any]()

    async def work(data: Data) -> Any:
        seen.append(now())
        await asyncio.sleep(5)
        return data.value

    flow.to(work).end()
    flow.when({"timer": 3}).to(("deadline", noting(seen, lambda data: now())))
    if start == "flow":
        result = await flow.async_start("value", delay=60)
    else:
        execution = flow.create_execution()
        if start == "execution":
            result = await execution.async_start("value", delay=60)
        else:
            if start == "begin" and execution.id:
                await execution.async_open()
                execution.begin("value", delay=60)
            else:
                await execution.async_begin("value", delay=60)
            assert execution.get_status() == "waiting"
            if start == "saved":
                await asyncio.sleep(30)
                saved = execution.save()
                await execution.async_cancel()
                execution = flow.load_execution(saved)
            result = await execution.async_get_result()
    assert (result, seen) == ("value", [pytest.approx(60, abs=0.5), pytest.approx(63, abs=0.5)])


async def test_a_start_that_is_cancelled_in_time_runs_nothing() -> None:
    flow, seen = TriggerFlow(), list[Any]()
    flow.to(("note", noting(seen, lambda data: data.value)))
    execution = flow.create_execution()
    await execution.async_begin(1, delay=60)
    await execution.async_begin(1)  # it has started: a second start does nothing
    await asyncio.sleep(59)
    await execution.async_cancel()
    await asyncio.sleep(5)
    assert seen == []
    closed = flow.create_execution()
    await closed.async_begin(2, delay=60)
    await closed.async_close()  # takes no more signals, and its work is still to come
    assert seen == [2]


@pytest.mark.parametrize("delay", ["5", -1, True, math.inf, float("nan")])
async def test_what_is_no_delay_is_refused(delay: Any) -> None:
    flow = TriggerFlow()
    flow.to(echo).end()
    execution = flow.create_execution()
    with pytest.raises(UsageError, match="a delay must be a finite number of seconds"):
        await execution.async_begin(1, delay=delay)
    assert await execution.async_start(2) == 2


# -- waits that could not end ------------------------------------------------------------------------------------------


async def test_the_result_of_an_execution_that_was_not_started_is_not_waited_for() -> None:
    flow = TriggerFlow()
    flow.to(echo).end()
    flow.when("go").to(("gone", echo)).end()
    execution = flow.create_execution()
    with pytest.raises(UsageError, match=r"was not started, so that no result can come; start it with async_start"):
        await execution.async_get_result()
    await execution.async_emit("go", 1)
    with pytest.raises(UsageError, match="was not started"):
        await execution.async_get_result()  # also once the work of its signals is done
    assert await execution.async_start(2) in (1, 2)


async def test_an_execution_that_was_not_started_can_be_closed() -> None:
    for options in ({}, {"keep_open": True}):
        flow, seen = TriggerFlow(), list[Any]()
        flow.to(echo).end()
        flow.when("go").to(("gone", noting(seen, lambda data: data.value)))
        execution = flow.create_execution(**options)
        await execution.async_emit("go", 1)
        assert await execution.async_close() is None
        assert (seen, execution.get_status()) == ([1], "completed")
        with pytest.raises(UsageError):
            await execution.async_start(2)
    closing = TriggerFlow()
    closing.to(echo)
    execution = closing.create_execution()
    assert await execution.async_close() is None
    assert execution.get_status() == "completed"


@pytest.mark.parametrize("call", ["async_get_result", "async_start", "async_close", "async_settled"])
@pytest.mark.parametrize("handle", ["its own", "of the caller"])
async def test_a_chunk_that_would_wait_for_its_own_execution_is_told(call: str, handle: str) -> None:
    flow, execution = TriggerFlow(), None

    async def waits(data: Data) -> Any:
        return await getattr(data.execution if handle == "its own" else execution, call)()

    flow.to(waits).end()
    execution = flow.create_execution()
    with pytest.raises(UsageError, match=rf"chunk 'waits' of .* calls {call}\(\) of its own execution"):
        await execution.async_start()


@pytest.mark.parametrize("handle", ["its own", "of the caller"])
async def test_a_sync_chunk_that_would_wait_for_its_own_execution_is_told(handle: str) -> None:
    flow, execution = TriggerFlow(), None

    def waits(data: Data) -> Any:
        held: Any = data.execution if handle == "its own" else execution
        return held.get_result()

    flow.to(waits).end()
    execution = flow.create_execution()
    with pytest.raises(UsageError, match="get_result\\(\\) of its own execution"):
        await execution.async_start()


@pytest.mark.parametrize("waits", ["settle", "settle in a thread", "pressure", "handle", "reader"])
async def test_the_time_out_of_a_chunk_does_not_wait_for_a_permit(waits: str) -> None:
    """The run that has the permit may take as long as it likes: the chunk has failed, and needs none any more."""
    flow, seen = TriggerFlow(), list[Any]()

    async def waiter(data: Data) -> None:
        if waits == "settle":
            await data.async_emit("long", settle=True)
        elif waits == "handle":
            await data.execution.async_emit("long", settle=True)
        elif waits == "reader":
            await data.async_emit("long")
            for number in range(10):
                await data.async_put_into_stream(number)
                await asyncio.sleep(0.1)  # a durable item reaches the reader when it is in the store
        else:
            for _ in range(3):
                await data.async_emit("long")

    def in_thread(data: Data) -> None:
        data.emit("long", settle=True)

    async def long(data: Data) -> None:
        await asyncio.sleep(100)

    async def note(data: Data) -> None:
        seen.append((data.value["type"], round(now())))

    chunk = flow.chunk("waiter", timeout=2)(in_thread if waits == "settle in a thread" else waiter)
    flow.to(chunk)
    flow.when("long").to(long)
    flow.when({"error": "waiter"}).to(note)
    execution = flow.create_execution(concurrency=1, max_pending=1)
    reader = execution.get_async_runtime_stream(buffer=1)
    if waits == "reader":
        first = asyncio.create_task(anext(reader))
        await execution.async_begin()
        await first
    await execution.async_begin()
    told = asyncio.create_task(execution.async_get_result())
    await asyncio.sleep(5)
    failed = [run for run in seen if run[0] == "TimeoutError"]
    # With one permit the error route runs when the long chunk has ended; that the chunk has failed is recorded before.
    record = [it for it in execution.records if type(it).__name__ == "Failed"]
    assert len(record) == 1
    assert now() == 5
    await reader.aclose()
    await told
    assert failed or seen


async def test_a_chunk_that_gives_up_a_wait_by_itself_goes_on_with_its_permit() -> None:
    """A time limit that the chunk sets itself is no end of the chunk: it stays within the limit."""
    flow, gauge = TriggerFlow(), Gauge()

    async def puts(data: Data) -> None:
        await data.async_put_into_stream(0)
        await data.async_emit("other", delay=1)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                for number in range(10):
                    await data.async_put_into_stream(number)
                    await asyncio.sleep(0.1)
        with gauge.inside():
            await asyncio.sleep(20)

    async def other(data: Data) -> None:
        with gauge.inside():
            await asyncio.sleep(50)

    flow.to(puts)
    flow.when("other").to(other)
    execution = flow.create_execution(concurrency=1)
    reader = execution.get_async_runtime_stream(buffer=1)
    assert await anext(reader) == 0
    await asyncio.sleep(200)
    await reader.aclose()
    await execution.async_get_result()
    assert (gauge.peak, gauge.total) == (1, 2)


def test_sync_twins(run: Any) -> None:
    """What scripts call."""
    flow, _ = reminding(keeps_open=False)
    assert flow.start(delay=0, execution_timeout=30) == "begun"
    execution = flow.create_execution()
    assert execution.start(delay=0) == "begun"
    assert execution.cancel_signal("remind") == 0

    async def inside() -> None:
        with pytest.raises(BlockingCallError):
            flow.start(delay=0)

    run(inside())


# -- durable -----------------------------------------------------------------------------------------------------------


async def status_of(store: Any, id: str, seconds: float) -> str:
    """The status of a stored execution when it has ended, or after so many seconds."""
    for _ in range(int(seconds)):
        row = await store.find(id)
        if row.status in ("completed", "failed", "cancelled"):
            return row.status
        await asyncio.sleep(1)
    return "not ended"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Opens the same data again with each call: every call is another process."""
    return stores_over(request.param, tmp_path)


async def test_delayed_signals_are_cancelled_after_a_restart(open_store: Callable[[], Any]) -> None:
    flow, seen = reminding()
    async with open_store() as store:
        await flow.create_execution(id="run", store=store).async_begin()
        await asyncio.sleep(1)
    async with open_store() as store:
        execution = await flow.async_resume("run", store=store)
        assert await execution.async_cancel_signal("reminder 1") == 1
    async with open_store() as store:
        execution = await flow.async_resume("run", store=store)
        assert await execution.async_cancel_signal("reminder 1") == 0
        assert await execution.async_cancel_signal("remind") == 1
        assert await execution.async_get_result() == "begun"
    assert seen == []


@pytest.mark.parametrize("in_sub_flow", [False, True])
async def test_a_time_limit_counts_on_while_no_process_runs_the_execution(
    open_store: Callable[[], Any], in_sub_flow: bool
) -> None:
    """A worker wakes a parked execution at its limit: also one that only waits for its sub-flow."""
    asking = endless("asks")
    flow = asking if not in_sub_flow else TriggerFlow("outer")
    if in_sub_flow:
        flow.to_sub_flow(asking, name="asks").end()
    async with open_store() as store, Worker(store, flow) as worker:
        await flow.create_execution(id="run", store=store, execution_timeout=100).async_begin()
        await asyncio.sleep(30)
        assert worker.running == 0
    await asyncio.sleep(30)
    async with open_store() as store, Worker(store, flow, poll=1_000):
        assert await status_of(store, "run", 30) == "not ended"
        assert await status_of(store, "run", 30) == "failed"
        execution = flow.create_execution(id="run", store=store)
        with pytest.raises(ExecutionTimedOut, match="had not ended 100 s"):
            await execution.async_get_result()


async def test_a_delayed_start_counts_on_while_no_process_runs_the_execution(open_store: Callable[[], Any]) -> None:
    flow, seen = TriggerFlow("later"), list[Any]()
    flow.to(("note", noting(seen, lambda data: data.value)))
    async with open_store() as store, Worker(store, flow, poll=9 * HOUR):
        await flow.create_execution(id="run", store=store).async_begin("value", delay=3 * HOUR)
        await asyncio.sleep(HOUR)
    await asyncio.sleep(HOUR)
    async with open_store() as store, Worker(store, flow, poll=9 * HOUR):
        await asyncio.sleep(HOUR - 60)
        assert seen == []
        assert await status_of(store, "run", 120) == "completed"
    assert seen == ["value"]


@pytest.mark.parametrize("sync", [False, True])
async def test_a_chunk_sees_the_time_that_due_times_are_on(open_store: Callable[[], Any], sync: bool) -> None:
    """ "The time left" works in virtual time, and after a restart."""
    flow = TriggerFlow("time left")

    @flow.chunk("begin")
    async def begin(data: Data) -> None:
        data.state.set("until", data.now() + 3 * DAY)
        data.pause_for(interrupt_id="q", expires=3 * DAY)

    def left(data: Data) -> float:
        return data.state.get("until") - data.now()

    async def left_async(data: Data) -> float:
        return left(data)

    flow.to(begin).to(("left", left if sync else left_async)).end()
    async with open_store() as store:
        await flow.create_execution(id="run", store=store).async_begin()
        await asyncio.sleep(1)
    await asyncio.sleep(2 * DAY)
    async with open_store() as store:
        execution = await flow.async_resume("run", store=store)
        assert execution.get_interrupt("q")["expires"] == pytest.approx(execution.state.get("until"), abs=1)
        await execution.async_continue_with("q")
        assert await execution.async_get_result() == pytest.approx(DAY, abs=5)


async def test_a_signal_that_keeps_nothing_open_wakes_a_parked_execution(open_store: Callable[[], Any]) -> None:
    flow, seen = TriggerFlow("asking"), list[Any]()

    @flow.chunk("ask")
    async def ask(data: Data) -> Any:
        await data.async_emit("remind", delay=HOUR, keeps_open=False)
        return await data.async_pause_for(interrupt_id="q")

    flow.to(ask).end()
    flow.when("remind").to(("note", noting(seen, lambda data: round(now()))))
    async with open_store() as store, Worker(store, flow, poll=9 * HOUR) as worker:
        await flow.create_execution(id="run", store=store).async_begin()
        await asyncio.sleep(60)
        assert (worker.running, seen) == (0, [])
        await asyncio.sleep(HOUR)
        assert seen == [pytest.approx(HOUR, abs=5)]
        execution = flow.create_execution(id="run", store=store)
        await execution.async_continue_with("q", "yes")
        assert await execution.async_get_result() == "yes"
