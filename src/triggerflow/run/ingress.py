"""The one entry for every change of a live execution, with the same steps in the same order for every caller.

1. *Thread and loop.* An execution lives on one event loop. A call from another thread is run on that loop.
2. *Contract.* A value with a declared type is checked; a value of another type changes nothing.
3. *Room.* The writer of a stream item waits while a blocking reader lags by its whole buffer.
4. *Submit.* `take` (the machine receives the record, the journal appends it), then the driver performs the commands.
5. *Pressure.* An emitter waits while too many of its signals are pending, or with `settle` until all have settled.
6. *Commit.* An awaited call on the handle of a durable execution returns when its records are in the store.

Chunks (`data`), holders of a handle (`execution`), sub-flows, timers and shared data all call these functions. No other
code calls `Machine.receive` for a live execution, and only the machine writes its state.

The argument `run` is the run whose chunk makes the change, None for a caller outside of chunks. `repeated` is the
attempt of that run if it repeats an earlier one, or may be repeated: what is the same as before is not recorded again
(see `attempts`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from threading import current_thread, get_ident
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .._core import events
from .._core.commands import AnyCommand, ItemAfterStop
from .._core.definition import OperatorKind
from .._core.errors import BlockingCallError, ExecutionClosed, UsageError, WrongLoopError
from .._core.freezing import freeze
from .._core.groups import earlier_signal
from .._core.machine import FINAL, cancelled_effect
from .._core.recovery import outstanding
from .._core.signals import FieldPlace
from .._core.state import UNSET, RunChunk, Status
from .._core.timers import awaits_answers_only, first_due, pending_signals
from ..build.arguments import LONGEST_SECONDS, seconds, text
from . import tracing
from .attempts import Attempt
from .interrupts import admit, describe_interrupt, is_checkable
from .logs import how_to_declare
from .portal import is_foreign, note_loop, require_wanted, run_sync, running_loop
from .threads import waiting_inside_engine

if TYPE_CHECKING:
    from .interfaces import Driver
    from .runtime import ExecutionRuntime

T = TypeVar("T")
Repeated = Attempt | None

# -- receive, append, perform ------------------------------------------------------------------------------------------


def take(runtime: ExecutionRuntime, event: events.Event) -> list[AnyCommand]:
    """Let the machine receive a record, append it to the journal, and return the commands to perform now.

    Raises what `Machine.receive` raises, and for a durable execution `PayloadError` or `ExecutionSuspended`. If it
    raises, nothing has changed.
    """
    log = runtime.log
    if log is None:
        commands = runtime.machine.receive(event)
        if runtime.journal is not None:
            runtime.journal.append(event)
        return commands
    encoded = log.encode(event)
    commands = runtime.machine.receive(event)
    if runtime.journal is not None:
        runtime.journal.append(event)
    return log.hold(encoded, commands)


def submit(runtime: ExecutionRuntime, event: events.Event) -> None:
    """Take a record and perform its commands, on the thread of the execution. Raises what `take` raises."""
    commands = take(runtime, event)
    if commands:
        driver = runtime.driver
        assert driver is not None
        driver.perform(commands)


def submit_item(runtime: ExecutionRuntime, event: events.StreamPut) -> None:
    """`submit` for an item of an execution in memory that is no sub-flow: its only command is to publish it."""
    number = runtime.machine.receive_item(event)
    if runtime.journal is not None:
        runtime.journal.append(event)
    if number:
        (runtime.stream or runtime.open_stream(number - 1)).publish(number, event.item)
    else:
        runtime.notice(ItemAfterStop(event.item))


# -- thread and loop ---------------------------------------------------------------------------------------------------


def check_loop(runtime: ExecutionRuntime) -> None:
    """Handle an execution whose event loop was closed: end it as cancelled, or suspend it if it is durable.

    An idle execution with `keep_open` only leaves the loop, and continues on the loop of its next use. Raises
    `WrongLoopError` in a process that was forked from the one of the execution.
    """
    driver = runtime.driver
    if driver is None or runtime.machine.state.status in FINAL:
        return
    if is_foreign(driver.loop):
        raise WrongLoopError(
            f"{runtime!r} lives in the parent process, from which this process was forked; "
            "create or load an execution in this process"
        )
    if not runtime.environment.is_closed(driver.loop):
        return
    if runtime.machine.state.keep_open and runtime.machine.state.idle():
        runtime.driver = None
    else:
        driver.on_loop_closed("its event loop was closed while it ran")


def moves_here(runtime: ExecutionRuntime) -> bool:
    """Whether a use of the execution on this event loop moves it here from another one: it is idle and has `keep_open`.

    A durable execution stays on the event loop of its store.
    """
    driver, state = runtime.driver, runtime.machine.state
    if driver is None or runtime.log is not None or not state.keep_open or state.status in FINAL or not state.idle():
        return False
    here = running_loop()
    return here is not None and here is not driver.loop


def fire_timer(runtime: ExecutionRuntime, number: int) -> None:
    """Fire a timer for whose time the driver has waited, on the thread of the execution.

    If the execution has a time limit, what is due before fires before: an event loop that was blocked can be late."""
    state = runtime.machine.state
    if state.execution_timeout is None:
        submit(runtime, events.TimerFired(runtime.environment.now(), number))
    else:
        _fire_due(runtime, max(runtime.environment.now(), (state.timers or {})[number].due), loaded=False)


def _fire_due(runtime: ExecutionRuntime, until: float, *, loaded: bool) -> None:
    """Fire the timers that are due by `until`, in the order of their due times; decision 0020.

    `loaded`: no driver served the execution before. Without this call, an answer that comes with the first use would
    be taken although the time for it was over. Sub-flows are loaded after their parent, so that it cannot know yet
    what was due in them.
    """
    state, now, others = runtime.machine.state, runtime.environment.now, False
    while state.status not in FINAL:
        first = first_due(state)
        if first is None or first[0] > until:
            return
        event = events.TimerFired(now(), first[1])
        if (state.timers or {})[first[1]].what != "limit":
            others = True
        elif (others and not awaits_answers_only(state)) or (loaded and _runs_sub_flow(runtime)):
            event.grace = runtime.options.cleanup_timeout
        submit(runtime, event)


def _runs_sub_flow(runtime: ExecutionRuntime) -> bool:
    return any(run.node.kind is OperatorKind.SUB_FLOW for run in runtime.machine.state.runs.values())


def driver_of(runtime: ExecutionRuntime, *, starting: bool = False) -> Driver:
    """The driver of an execution, made on first use on the running loop.

    With `starting` the caller submits `Started`, which has the options; else `Created` is recorded for them. An idle
    execution with `keep_open` moves to the loop that uses it. Raises `ExecutionClosed`, and `UsageError` for a durable
    execution that is not open here.
    """
    check_loop(runtime)
    runtime.entering()
    if moves_here(runtime):
        runtime.driver = None
    state, driver = runtime.machine.state, runtime.driver
    if driver is not None and state.status not in FINAL:
        return driver
    if state.status in FINAL:
        raise ExecutionClosed(f"{runtime!r} has ended ({runtime.status()}) and accepts nothing more")
    runtime.durability.require_open(runtime)
    driver = runtime.driver = runtime.environment.make_driver(runtime)
    note_loop(driver.loop)
    runtime.thread = None if runtime.environment.any_thread else current_thread().ident
    if runtime.machine.plan.flow_data:
        runtime.shared.listen(runtime)
    if state.records:
        again = outstanding(runtime.machine)
        if again is None:
            lost = runtime.durability.outlives_loop
            submit(runtime, events.Recovered(runtime.environment.now(), lost))
        else:
            driver.perform(again)
        _fire_due(runtime, runtime.environment.now(), loaded=True)
    elif not starting:
        submit(runtime, events.Created(runtime.environment.now(), *runtime.recorded_options()))
        model = runtime.program.state
        for key, default in () if model is None else model.initial().items():
            submit(runtime, events.StateChanged(runtime.environment.now(), None, "set", key, default, emit=False))
    return driver


def is_here(runtime: ExecutionRuntime) -> bool:
    """Whether the calling thread may use the execution directly: it lives on this thread, on no loop of this process,
    or moves here."""
    driver = runtime.driver
    if driver is None or runtime.thread in (None, get_ident()):
        return True
    return is_foreign(driver.loop) or moves_here(runtime)


def call(runtime: ExecutionRuntime, function: Callable[[], T], name: str) -> T:
    """Call a function on the thread of the execution, and wait for it.

    `name` is the async method to use instead. Raises `BlockingCallError` inside the event loop of another thread.
    """
    check_loop(runtime)
    if is_here(runtime):
        return function()

    async def there() -> T:
        return function()

    assert runtime.driver is not None
    return run_sync(there, name, runtime.driver.loop)


async def carry(runtime: ExecutionRuntime, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await a coroutine on the event loop of the execution, from another loop. Raises `ExecutionClosed` if it has
    ended."""
    if runtime.driver is None:
        driver_of(runtime)
        return await make()
    require_wanted()
    coroutine = make()
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, runtime.driver.loop)
    except RuntimeError:  # the loop was closed after the last check
        coroutine.close()
        check_loop(runtime)
        return await make()
    with waiting_inside_engine():
        return await asyncio.wrap_future(future)


def enter(runtime: ExecutionRuntime, event: events.Event, name: str) -> None:
    """Submit a record from any thread; returns when it is accepted. `name`: see `call`."""

    def there() -> None:
        driver_of(runtime)
        submit(runtime, event)

    call(runtime, there, name)


def post(runtime: ExecutionRuntime, event: events.Event) -> None:
    """Submit a record from any thread without waiting. On the thread of the execution it is submitted at once.

    A record that comes after the end is dropped.
    """
    check_loop(runtime)
    driver = runtime.driver
    if driver is None or is_here(runtime):
        enter_unless_ended(runtime, event)
    else:
        with suppress(RuntimeError):  # the loop was closed after the last check
            driver.loop.call_soon_threadsafe(enter_unless_ended, runtime, event)


def enter_unless_ended(runtime: ExecutionRuntime, event: events.Event) -> None:
    """Submit a record on the thread of the execution; one that comes after the end is dropped."""
    with suppress(ExecutionClosed):
        driver_of(runtime)
        submit(runtime, event)


async def from_outside(runtime: ExecutionRuntime, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Make an awaited call on a handle: open the execution, make the call on its loop, wait until its records are
    stored."""
    check_loop(runtime)
    if not is_here(runtime):
        return await carry(runtime, lambda: from_outside(runtime, make))
    await runtime.durability.open(runtime)
    answer = await make()
    await runtime.durability.committed(runtime)
    return answer


async def from_outside_now(runtime: ExecutionRuntime, function: Callable[[], T]) -> T:
    """`from_outside` for a function that is not async."""

    async def make() -> T:
        return function()

    return await from_outside(runtime, make)


async def here_or_carried(runtime: ExecutionRuntime, function: Callable[[], T]) -> T:
    """Call a function on the thread of the execution. A caller on another event loop awaits the result."""
    if is_here(runtime):
        return function()

    async def make() -> T:
        return function()

    return await carry(runtime, make)


# -- effects -----------------------------------------------------------------------------------------------------------


def record(runtime: ExecutionRuntime, event: events.Event, run: RunChunk | None, repeated: Repeated, name: str) -> None:
    """Record an effect of a run, from any thread, unless an earlier attempt has recorded it. `name`: see `call`."""
    if repeated is not None and repeated.place(event):
        return
    send(runtime, event, run, name)


def send(runtime: ExecutionRuntime, event: events.Event, run: RunChunk | None, name: str) -> None:
    """Record an effect of a run, from any thread. `name`: see `call`."""
    driver = runtime.driver
    if driver is not None and run is not None and runtime.thread in (None, get_ident()):
        submit(runtime, event)
    else:
        enter(runtime, event, name)


async def emit(
    runtime: ExecutionRuntime,
    name: str,
    value: Any,
    run: RunChunk,
    repeated: Repeated,
    *,
    settle: bool = False,
    delay: float | None = None,
    id: str | None = None,
    keeps_open: bool = True,
    provisional: bool = False,
    field: FieldPlace | None = None,
) -> int:
    """A chunk emits a signal; see `TriggerFlowRuntimeData.async_emit`."""
    if runtime.thread != get_ident() and runtime.thread is not None:
        # No lambda: it would make each of these arguments a cell, in every call.
        there = partial(
            emit, runtime, name, value, run, repeated,
            settle=settle, delay=delay, id=id, keeps_open=keeps_open, provisional=provisional, field=field,
        )  # fmt: skip
        return await carry(runtime, there)
    if delay is not None or id is not None or keeps_open is not True:
        check_delayed(delay, id, keeps_open, settle)
    if runtime.program.signals or type(name) is not str:
        name = text(name)
        value = checked(runtime, name, value)
    if delay is None:
        event = events.Emitted(runtime.environment.now(), run.id, name, value, settle, None, provisional)
        if field is not None:
            event.field = field
    else:
        event = events.Emitted(
            runtime.environment.now(), run.id, name, value, settle, delay, provisional, True, id, keeps_open
        )
    state = runtime.machine.state
    number = state.records
    if repeated is not None and (place := repeated.place(event)):
        earlier = earlier_signal(state, run, event.effect, place)
        if earlier is None:
            return -1
        if settle:
            submit(runtime, events.AwaitedAgain(runtime.environment.now(), run.id, earlier.signal))
            await _settled(runtime, number)
        return earlier.signal
    if repeated is not None and repeated.held:  # what the signal starts has to see the state as this attempt sees it
        _record_all_held(runtime, repeated, run)
        number = state.records
    commands = take(runtime, event)  # `submit`, inlined: emitting is the most frequent call of chunks
    if commands and runtime.driver is not None:
        runtime.driver.perform(commands)
    if state.waits and number in state.waits:
        await _settled(runtime, number)
    return number


def emit_field(runtime: ExecutionRuntime, name: str, value: Any, run: RunChunk, field: FieldPlace) -> int:
    """A chunk that is not repeated emits a provisional signal for a field, on the thread of the execution. Unlike
    `emit` it does not wait where this one signal has started more than `max_pending` runs."""
    if runtime.program.signals or type(name) is not str:
        name = text(name)
        value = checked(runtime, name, value)
    number, now = runtime.machine.state.records, runtime.environment.now()
    submit(runtime, events.Emitted(now, run.id, name, value, provisional=True, may_wait=False, field=field))
    return number


async def _settled(runtime: ExecutionRuntime, number: int) -> bool:
    """If the record `number` has begun a wait, wait until it ends. Returns False if the execution ends before."""
    waits, driver = runtime.machine.state.waits, runtime.driver
    if waits and number in waits and driver is not None:
        return await driver.settled(number)
    return True


def emit_now(
    runtime: ExecutionRuntime,
    name: str,
    value: Any,
    run: RunChunk,
    repeated: Repeated,
    *,
    settle: bool = False,
    delay: float | None = None,
    id: str | None = None,
    keeps_open: bool = True,
) -> None:
    """A chunk emits a signal by `data.emit`. On the thread of the execution this does not wait."""
    check_delayed(delay, id, keeps_open, settle)
    if not is_here(runtime):
        make = lambda: emit(  # noqa: E731
            runtime, name, value, run, repeated, settle=settle, delay=delay, id=id, keeps_open=keeps_open
        )
        run_sync(make, "data.async_emit", runtime.loop)
        return
    if settle:
        raise BlockingCallError("emit(settle=True) would block the loop; write `await data.async_emit(...)`")
    name = text(name)
    value = checked(runtime, name, value)
    event = events.Emitted(
        runtime.environment.now(), run.id, name, value, False, delay,
        may_wait=False, label=id, keeps_open=keeps_open,
    )  # fmt: skip
    record(runtime, event, run, repeated, "data.async_emit")


def emit_from_outside(
    runtime: ExecutionRuntime,
    name: str,
    value: Any,
    settle: bool,
    delay: float | None,
    id: str | None,
    keeps_open: bool,
    run: RunChunk | None = None,
) -> int:
    """A caller emits a signal on a handle. `run` is the chunk that calls with `settle`, so that it gives up its
    permits. Returns the number of the signal's record."""
    name = text(name)
    check_delayed(delay, id, keeps_open, settle)
    _refuse_late(runtime, name)
    value = checked(runtime, name, value)
    driver_of(runtime)
    number, by = runtime.machine.state.records, None if run is None else run.id
    now = runtime.environment.now()
    caller = tracing.current() if by is None else None
    submit(
        runtime,
        events.Emitted(now, by, name, value, settle, delay, label=id, keeps_open=keeps_open, traceparent=caller),
    )
    return number


async def emission_settled(runtime: ExecutionRuntime, number: int) -> None:
    """If the signal with this number of a caller has begun a wait, wait until it has settled."""
    if not await _settled(runtime, number):
        await runtime.result()  # raises the failure that kept the signal from settling


async def until_ended(runtime: ExecutionRuntime, _: Any = None) -> None:
    """Wait until the execution has ended."""
    await runtime.until(lambda: runtime.has_ended)


async def ended_result(runtime: ExecutionRuntime, _: Any = None) -> Any:
    """Wait until the execution has ended, and return its result."""
    await until_ended(runtime)
    return runtime.outcome()


def confirm(runtime: ExecutionRuntime, run: RunChunk, repeated: Repeated, number: int) -> None:
    """Make a provisional signal final, on the thread of the execution."""
    if number >= 0:  # below 0: `emit` found that an earlier attempt has decided on the signal
        record(
            runtime, events.Confirmed(runtime.environment.now(), run.id, number), run, repeated, "data.async_confirm"
        )


def retract(runtime: ExecutionRuntime, run: RunChunk, repeated: Repeated, number: int, reason: str) -> None:
    """Retract a provisional signal, on the thread of the execution; readers of the stream get an item that says so."""
    if number < 0:
        return
    known, now = number in (runtime.machine.state.provisional or ()), runtime.environment.now
    record(runtime, events.Retracted(now(), run.id, number, reason), run, repeated, "data.async_retract")
    if known:
        put_retraction(runtime, number, reason)


async def stopped(runtime: ExecutionRuntime, run: RunChunk, signals: Iterable[int]) -> None:
    """Wait, without the permits of the run, until the work that these retracted signals of it had started has stopped:
    at most `cleanup_timeout` seconds. On the thread of the execution."""
    state = runtime.machine.state
    for signal in signals:
        recorded = run.recorded_signals.by_signal.get(signal) if run.recorded_signals else None
        if recorded is None or not recorded.group.live or signal in (state.provisional or ()):
            continue
        if state.closing is not None or state.run(run.id) is not run:
            return
        number = state.records
        submit(runtime, events.AwaitedAgain(runtime.environment.now(), run.id, signal))
        await _settled(runtime, number)


def put_retraction(runtime: ExecutionRuntime, number: int, reason: str) -> None:
    """Tell the readers of the stream that a signal was retracted.

    The item is no effect of a run: a repeated attempt finds that the signal is not known any more, and puts no second
    item."""
    item = {"type": "retraction", "signal": number, "reason": reason}
    submit(runtime, events.StreamPut(runtime.environment.now(), None, item))


def cancel_signal(runtime: ExecutionRuntime, name: Any, run: RunChunk | None, repeated: Repeated = None) -> int:
    """Cancel the pending delayed signals with this name or id, from any thread; returns how many there were."""
    name = text(name)
    if not isinstance(name, str):
        raise UsageError(f"{runtime!r}: a delayed signal is cancelled by its name or its id, a string; got {name!r}")
    name = str.__str__(name)

    def there() -> int:
        state = runtime.machine.state
        event = events.SignalsCancelled(runtime.environment.now(), None if run is None else run.id, name)
        if run is not None and repeated is not None and (place := repeated.place(event)):
            return (run.effects or {}).get(cancelled_effect(name, place), 0)
        if run is None:
            if state.status in FINAL:
                return 0
            driver_of(runtime)
        count = pending_signals(state, name)
        submit(runtime, event)
        return count

    return call(runtime, there, "data.async_cancel_signal" if run is not None else "execution.async_cancel_signal")


def cancel_signal_from_outside(runtime: ExecutionRuntime, name: Any) -> int:
    """A caller cancels the pending delayed signals with this name or id; see `cancel_signal`."""
    return cancel_signal(runtime, name, None)


def _refuse_late(runtime: ExecutionRuntime, name: str) -> None:
    """Raise `ExecutionClosed` if the execution completed without waiting for this event; say how to declare it."""
    state, plan = runtime.machine.state, runtime.machine.plan
    rested = state.status is Status.COMPLETED and state.has_handle and state.result is UNSET
    if rested and isinstance(name, str) and name in plan.events and name not in plan.external:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ExecutionClosed(
            f"{runtime!r} has ended (completed) and accepts no signal {name!r}: no work was left, and it "
            f"did not wait for this event; {how_to_declare(name)}"
        )


async def put(runtime: ExecutionRuntime, item: Any, run: RunChunk, repeated: Repeated) -> None:
    """A chunk puts an item into the runtime stream; see `TriggerFlowRuntimeData.async_put_into_stream`."""
    if runtime.thread != get_ident() and runtime.thread is not None:
        await carry(runtime, partial(put, runtime, item, run, repeated))
        return
    check, stream = runtime.check_item, runtime.stream
    if check is not None:
        item = check(item)
    digest = None
    if repeated is not None:
        known = events.StreamPut(0.0, run.id, item)
        if repeated.place(known):
            return
        if repeated.held:  # readers of the item have to see the state as this attempt sees it
            _record_all_held(runtime, repeated, run)
        digest = known.digest
    if (stream is not None and stream.last >= stream.ceiling) or runtime.link is not None:
        await _room(runtime, run)
    event = events.StreamPut(runtime.environment.now(), run.id, item)
    if digest is not None:
        event.digest = digest
    submit(runtime, event)
    log = runtime.log
    if log is not None and log.is_crowded:
        await log.wait_committed()


async def room_from_outside(runtime: ExecutionRuntime, item: Any) -> None:
    """A caller is about to put an item into the runtime stream on a handle: check the item, and wait for room."""
    stream = runtime.stream
    if (stream is not None and stream.last >= stream.ceiling) or runtime.link is not None:
        driver_of(runtime)
        check = runtime.check_item
        if check is not None:
            check(item)
        await _room(runtime, None)


def put_from_outside(runtime: ExecutionRuntime, item: Any) -> None:
    """A caller puts an item into the runtime stream on a handle."""
    driver_of(runtime)
    check = runtime.check_item
    submit(runtime, events.StreamPut(runtime.environment.now(), None, item if check is None else check(item)))


async def _room(runtime: ExecutionRuntime, run: RunChunk | None) -> None:
    """Wait while a blocking reader of this execution, or of a parent of it, lags by its whole buffer."""
    at: ExecutionRuntime | None = runtime
    while at is not None:
        stream = at.stream
        if stream is None or not stream.full:
            at = None if at.link is None else at.link.parent
            continue
        if run is not None and run.limiters and runtime.machine.state.run(run.id) is run and runtime.driver is not None:
            await runtime.driver.without_permits(run, stream.room)
        else:
            await stream.room()
        at = runtime  # another reader may have fallen behind during this wait: check all again


def put_now(runtime: ExecutionRuntime, item: Any, run: RunChunk | None, repeated: Repeated = None) -> None:
    """Put an item into the runtime stream without waiting for slow readers."""
    check = runtime.check_item
    number = None if run is None else run.id
    event = events.StreamPut(runtime.environment.now(), number, item if check is None else check(item))
    record(runtime, event, run, repeated, "data.async_put_into_stream")


def stop_stream(runtime: ExecutionRuntime, run: RunChunk | None, repeated: Repeated = None) -> None:
    """End the runtime stream."""
    number = None if run is None else run.id
    event = events.StreamStopped(runtime.environment.now(), number)
    record(runtime, event, run, repeated, "data.async_stop_stream")


def set_result(
    runtime: ExecutionRuntime, value: Any, replace: bool, run: RunChunk | None, repeated: Repeated = None
) -> None:
    """Set the result of the execution."""
    check = runtime.program.contract.result
    value = value if check is None else check(value)
    number = None if run is None else run.id
    event = events.ResultSet(runtime.environment.now(), number, value, replace)
    if repeated is None or not repeated.repeats_result(event):
        send(runtime, event, run, "data.async_set_result")


def held_value(runtime: ExecutionRuntime, repeated: Repeated, key: str, default: Any) -> Any:
    """The value at a key of state, as the attempt of a run sees it."""
    if repeated is not None and key in repeated.held:
        value = repeated.held[key].value
        return freeze(default if value is UNSET else value)
    return runtime.machine.state.data.get(key, default)


def change_state(
    runtime: ExecutionRuntime,
    op: Literal["set", "append", "delete"],
    key: str,
    value: Any,
    emit: bool,
    run: RunChunk | None,
    repeated: Repeated,
    digest: int | None = None,
) -> None:
    """Change the state at one key. `digest`: of the operation that has made the value, if there is one."""
    key = text(key)
    model = runtime.program.state
    if model is not None and op == "set":
        value = model.check(key, value)
    elif model is not None and op == "append":
        model.check_item(key, held_value(runtime, repeated, key, ()), value)
    elif model is not None:
        model.require(key)
    number = None if run is None else run.id
    event = events.StateChanged(runtime.environment.now(), number, op, key, value, emit, digest)
    if repeated is not None:
        if digest is None and repeated.repeats_change(event):
            return
        record_held(runtime, repeated, run, key)
    send(runtime, event, run, f"state.async_{op}")


def record_held(runtime: ExecutionRuntime, attempt: Attempt, run: RunChunk | None, key: str) -> None:
    """Record the value of a key of state that only the attempt itself has seen so far."""
    change = attempt.unheld(key)
    if change is not None:
        send(runtime, change, run, "state.async_set")


async def finishing(runtime: ExecutionRuntime, attempt: Attempt, run: RunChunk, call: Awaitable[Any]) -> Any:
    """Await the handler of a repeated attempt, and record at its end what only the attempt itself has seen so far."""
    try:
        value = await call
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException:
        with suppress(ExecutionClosed):
            _record_all_held(runtime, attempt, run)
        raise
    _record_all_held(runtime, attempt, run)
    return value


def _record_all_held(runtime: ExecutionRuntime, attempt: Attempt, run: RunChunk) -> None:
    for key in list(attempt.held):
        record_held(runtime, attempt, run, key)


def answer(runtime: ExecutionRuntime, interrupt_id: str, value: Any, request_id: str | None) -> dict[str, Any]:
    """Answer an interrupt, from any thread. Returns the interrupt after the answer."""
    return call(runtime, lambda: _answer(runtime, interrupt_id, value, request_id), "execution.async_continue_with")


async def until_checkable(runtime: ExecutionRuntime, interrupt: str, value: Any, request: str | None) -> None:
    """Wait until the sub-flow that asks is open here: it checks the answer. After a restart its step opens it."""
    if not is_checkable(runtime, text(interrupt)) and runtime.machine.state.status not in FINAL:
        driver_of(runtime)  # it starts the step
        await runtime.until(lambda: is_checkable(runtime, text(interrupt)))


def _answer(runtime: ExecutionRuntime, id: str, value: Any, request: str | None) -> dict[str, Any]:
    """Check an answer, put it into the stream and submit it. This never awaits, so that of several answers at once only
    one reaches the stream."""
    id = text(id)
    if runtime.machine.state.status not in FINAL:
        driver_of(runtime)  # first: it fires what is overdue, the expiry of this interrupt for example
    event = events.Resumed(runtime.environment.now(), id, value, request, tracing.current())
    interrupt, new = admit(runtime, event)
    if new:
        if runtime.link is None:
            answered = {**describe_interrupt(interrupt), "status": "resumed", "response": event.value}
            runtime.durability.check_answer(runtime, answered)
            put_interrupt(runtime, "resume", answered)
        submit(runtime, event)
        (runtime.schemas or {}).pop(id, None)
    return describe_interrupt(interrupt)


def put_interrupt(runtime: ExecutionRuntime, action: str, interrupt: dict[str, Any]) -> None:
    """Put the stream item that shows an interrupt to readers: `action` is "pause", "resume" or "expired"."""
    item = {"type": "interrupt", "action": action, "execution_id": runtime.id, "interrupt": interrupt}
    enter(runtime, events.StreamPut(runtime.environment.now(), None, item), "execution.async_continue_with")


def checked(runtime: ExecutionRuntime, name: str, value: Any) -> Any:
    """Check the value of an event if the flow declares its type, and return it. Raises `ContractError`."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{runtime!r}: the name of an event must be a string, got {name!r}")
    signals = runtime.program.signals
    check = signals.get(name) if signals else None
    return value if check is None else check(value)


def check_delay(delay: Any) -> None:
    """Raise `UsageError` unless this is a number of seconds from 0 to 100 years."""
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < math.inf:
        raise UsageError(f"a delay must be a finite number of seconds from 0 on, got {delay!r}")
    if delay > LONGEST_SECONDS:
        raise UsageError(f"a delay is at most 100 years, got {delay!r:.30} seconds")


def check_delayed(delay: Any, id: Any, keeps_open: Any, settle: bool) -> None:
    """Raise `UsageError` unless these options of an emit make sense together."""
    if delay is not None:
        check_delay(delay)
    if id is not None and (not isinstance(id, str) or not id):
        raise UsageError(f"the id of a delayed signal is a non-empty string, got {id!r}")
    if keeps_open is not True and keeps_open is not False:
        raise UsageError(f"keeps_open is True or False, got {keeps_open!r}")
    if delay is None and (id is not None or not keeps_open):
        option = "id" if id is not None else "keeps_open"
        raise UsageError(f"{option}= is for a delayed signal; add delay=seconds, or leave it out")
    if settle and not keeps_open:
        raise UsageError(
            "settle=True and keeps_open=False exclude each other: settle waits for the signal, and keeps_open=False "
            "drops it"
        )


def check_patience(timeout: Any, where: str) -> None:
    """Raise `OptionError` or `DefinitionError` unless this is None, or a number of seconds from 0 on."""
    if timeout is not None:
        seconds(timeout, where, "timeout")
