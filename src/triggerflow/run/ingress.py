"""The one way in: everything that changes an execution enters here, whoever sends it, in one order.

1. *Thread and loop.* An execution lives on one event loop. A call from another thread is carried there.
2. *Contract.* What was declared is checked; a value that does not fit changes nothing.
3. *Room.* A stream item waits while a blocking reader lags by its whole buffer.
4. *Submit.* `take` (the machine receives the record, the journal appends it), then the driver performs the commands.
5. *Pressure.* An emitter waits while too many of its signals are pending, or with `settle` until all have settled.
6. *Commit.* From outside, an awaited call on a durable execution returns when its records are in the store.

Chunks (`data`), holders of a handle (`execution`), sub-flows, timers and shared data all call these functions. Nobody
else calls `Machine.receive` for a live execution, and nobody but the machine writes its state.

`run` is the run of a chunk in whose name something happens, None for the outside. `repeated` is the attempt of that run
if it repeats an earlier one, or may be repeated: what is the same as before is not recorded again (see `attempts`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from threading import current_thread, get_ident
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .._core import events
from .._core.commands import AnyCommand, ItemAfterStop
from .._core.errors import BlockingCallError, ExecutionClosed, UsageError, WrongLoopError
from .._core.groups import kept_at
from .._core.machine import FINAL
from .._core.recovery import outstanding
from .._core.state import UNSET, RunChunk, Status
from .attempts import Attempt
from .interrupts import admit, describe_interrupt
from .logs import how_to_declare
from .portal import is_foreign, note_loop, require_wanted, run_sync, running_loop
from .threads import waiting_inside_engine

if TYPE_CHECKING:
    from .interfaces import Driver
    from .runtime import ExecutionRuntime

T = TypeVar("T")
Repeated = Attempt | None

# -- the shell loop ----------------------------------------------------------------------------------------------------


def take(runtime: ExecutionRuntime, event: events.Event) -> list[AnyCommand]:
    """Let the machine receive a record and the journal append it; the commands that may be performed now.

    Raises what `Machine.receive` raises, and for a durable execution `PayloadError` or `ExecutionSuspended`; nothing
    has changed then.
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
    """If the event loop of an execution was closed under it, end it as cancelled; at rest and kept open it goes on
    where it is used next."""
    driver = runtime.driver
    if driver is None or runtime.machine.state.status in FINAL:
        return
    if is_foreign(driver.loop):
        raise WrongLoopError(
            f"{runtime!r} lives in the process that this one was forked from; create or load an execution here"
        )
    if not runtime.environment.is_closed(driver.loop):
        return
    if runtime.machine.state.keep_open and runtime.machine.state.idle():
        runtime.driver = None
    else:
        driver.on_loop_closed("its event loop was closed while it ran")


def moves_here(runtime: ExecutionRuntime) -> bool:
    """Whether the next use here moves it to this event loop: it is kept open and at rest, and has lived on another.

    A durable execution stays on the event loop of its store.
    """
    driver, state = runtime.driver, runtime.machine.state
    if driver is None or runtime.log is not None or not state.keep_open or state.status in FINAL or not state.idle():
        return False
    here = running_loop()
    return here is not None and here is not driver.loop


def driver_of(runtime: ExecutionRuntime, *, starting: bool = False) -> Driver:
    """The driver of an execution, made on first use on the running loop.

    With `starting` the options come with the record that follows. An execution that is kept open and at rest moves to
    the loop that uses it. Raises `ExecutionClosed`, and `UsageError` for a durable execution that is not open here.
    """
    check_loop(runtime)
    runtime.entering()
    if moves_here(runtime):
        runtime.driver = None
    state, driver = runtime.machine.state, runtime.driver
    if driver is not None and state.status not in FINAL:
        return driver
    if state.status in FINAL:
        raise ExecutionClosed(f"{runtime!r} has ended ({runtime.status()}); it takes nothing any more")
    runtime.durability.require_open(runtime)
    driver = runtime.driver = runtime.environment.make_driver(runtime)
    note_loop(driver.loop)
    runtime.thread = None if runtime.environment.any_thread else current_thread().ident
    if runtime.machine.plan.flow_data:
        runtime.shared.listen(runtime)
    if state.records:
        again = outstanding(runtime.machine)
        if again is None:
            submit(runtime, events.Recovered(runtime.environment.now()))
        else:
            driver.perform(again)
    elif not starting:
        submit(runtime, events.Created(runtime.environment.now(), *runtime.recorded_options()))
    return driver


def is_here(runtime: ExecutionRuntime) -> bool:
    """Whether the calling thread is the one on which the execution lives, or it lives nowhere in this process, or it
    moves here."""
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
    """Await a coroutine on the event loop of the execution, from another one. Raises `ExecutionClosed` after the
    end."""
    if runtime.driver is None:
        driver_of(runtime)
        return await make()
    require_wanted()
    coroutine = make()
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, runtime.driver.loop)
    except RuntimeError:  # the loop was closed a moment ago
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
    """Submit a record from any thread without waiting for that: at once on the thread of the execution, else soon.

    A record that comes after the end is dropped.
    """
    check_loop(runtime)
    driver = runtime.driver
    if driver is None or is_here(runtime):
        enter_unless_ended(runtime, event)
    else:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            driver.loop.call_soon_threadsafe(enter_unless_ended, runtime, event)


def enter_unless_ended(runtime: ExecutionRuntime, event: events.Event) -> None:
    """Submit a record on the thread of the execution; one that comes after the end is dropped."""
    with suppress(ExecutionClosed):
        driver_of(runtime)
        submit(runtime, event)


async def from_outside(runtime: ExecutionRuntime, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What every awaited call on a handle goes through: the execution is opened, the call is made on its loop, and what
    the call has recorded is in the store when this returns."""
    check_loop(runtime)
    if not is_here(runtime):
        return await carry(runtime, lambda: from_outside(runtime, make))
    await runtime.durability.open(runtime)
    answer = await make()
    await runtime.durability.committed(runtime)
    return answer


async def from_outside_now(runtime: ExecutionRuntime, function: Callable[[], T]) -> T:
    """`from_outside` for a call that waits for nothing."""

    async def make() -> T:
        return function()

    return await from_outside(runtime, make)


async def here_or_carried(runtime: ExecutionRuntime, function: Callable[[], T]) -> T:
    """Call a function on the thread of the execution; from another event loop, wait for it there."""
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
    provisional: bool = False,
) -> int:
    """A chunk emits a signal; see `TriggerFlowRuntimeData.async_emit`."""
    if runtime.thread != get_ident() and runtime.thread is not None:
        return await carry(
            runtime,
            lambda: emit(runtime, name, value, run, repeated, settle=settle, delay=delay, provisional=provisional),
        )
    if delay is not None:
        check_delay(delay)
    if runtime.program.signals or type(name) is not str:
        value = checked(runtime, name, value)
    event = events.Emitted(runtime.environment.now(), run.id, name, value, settle, delay, provisional)
    state = runtime.machine.state
    number = state.records
    if repeated is not None and (place := repeated.place(event)):
        kept = kept_at(state, run, event.effect, place)
        if kept is None:
            return -1
        if settle:
            submit(runtime, events.AwaitedAgain(runtime.environment.now(), run.id, kept.signal))
            await _settled(runtime, number)
        return kept.signal
    commands = take(runtime, event)  # `submit` without the call: chunks that emit wait for nothing else
    if commands and runtime.driver is not None:
        runtime.driver.perform(commands)
    if state.waits and number in state.waits:
        await _settled(runtime, number)
    return number


async def _settled(runtime: ExecutionRuntime, number: int) -> bool:
    """Wait for the end of the wait that a record has begun, if it has; False if the execution ends before that."""
    waits, driver = runtime.machine.state.waits, runtime.driver
    if waits and number in waits and driver is not None:
        return await driver.settled(number)
    return True


def emit_now(
    runtime: ExecutionRuntime, name: str, value: Any, run: RunChunk, repeated: Repeated, settle: bool, delay: Any
) -> None:
    """A chunk emits a signal without awaiting: on the thread of the execution nothing is waited for."""
    if delay is not None:
        check_delay(delay)
    if not is_here(runtime):
        make = lambda: emit(runtime, name, value, run, repeated, settle=settle, delay=delay)  # noqa: E731
        run_sync(make, "data.async_emit", runtime.loop)
        return
    if settle:
        raise BlockingCallError("emit(settle=True) would block the loop; write `await data.async_emit(...)`")
    value = checked(runtime, name, value)
    event = events.Emitted(runtime.environment.now(), run.id, name, value, False, delay, may_wait=False)
    record(runtime, event, run, repeated, "data.async_emit")


async def emit_from_outside(runtime: ExecutionRuntime, name: str, value: Any, settle: bool, run: Any = None) -> None:
    """The holder of a handle emits a signal; in the name of a run if that run holds the handle and would wait."""
    _refuse_late(runtime, name)
    driver_of(runtime)
    event = events.Emitted(
        runtime.environment.now(), None if run is None else run.id, name, checked(runtime, name, value), settle
    )
    number = runtime.machine.state.records
    submit(runtime, event)
    if not await _settled(runtime, number):
        await runtime.result()  # raises why it could not settle


def emit_from_outside_now(runtime: ExecutionRuntime, name: str, value: Any) -> None:
    """The holder of a handle emits a signal without awaiting."""
    _refuse_late(runtime, name)
    value = checked(runtime, name, value)
    driver_of(runtime)
    submit(runtime, events.Emitted(runtime.environment.now(), None, name, value))


def _refuse_late(runtime: ExecutionRuntime, name: str) -> None:
    """Raise `ExecutionClosed` that says how to declare an event for which a held execution did not wait."""
    state, plan = runtime.machine.state, runtime.machine.plan
    rested = state.status is Status.COMPLETED and state.attended and state.result is UNSET
    if rested and isinstance(name, str) and name in plan.events and name not in plan.external:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ExecutionClosed(
            f"{runtime!r} has ended (completed) and takes no signal {name!r} any more: nothing was left to do, and it "
            f"did not wait for this event; {how_to_declare(name)}"
        )


async def put(runtime: ExecutionRuntime, item: Any, run: RunChunk, repeated: Repeated) -> None:
    """A chunk puts an item into the runtime stream; see `TriggerFlowRuntimeData.async_put_into_stream`."""
    if runtime.thread != get_ident() and runtime.thread is not None:
        await carry(runtime, lambda: put(runtime, item, run, repeated))
        return
    check, stream = runtime.check_item, runtime.stream
    if check is not None:
        item = check(item)
    digest = None
    if repeated is not None:
        known = events.StreamPut(0.0, run.id, item)
        if repeated.place(known):
            return
        digest = known.digest
    if (stream is not None and stream.last >= stream.ceiling) or runtime.link is not None:
        await _room(runtime, run)
    event = events.StreamPut(runtime.environment.now(), run.id, item)
    if digest is not None:
        event.digest = digest
    if runtime.is_plain:
        submit_item(runtime, event)
        return
    submit(runtime, event)
    log = runtime.log
    if log is not None and log.is_crowded:
        await log.wait_committed()


async def put_from_outside(runtime: ExecutionRuntime, item: Any) -> None:
    """The holder of a handle puts an item into the runtime stream."""
    driver_of(runtime)
    check = runtime.check_item
    if check is not None:
        item = check(item)
    await _room(runtime, None)
    submit(runtime, events.StreamPut(runtime.environment.now(), None, item))


async def _room(runtime: ExecutionRuntime, run: RunChunk | None) -> None:
    """Wait while a blocking reader of this execution, or of one around it, lags by its whole buffer."""
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
        at = runtime  # meanwhile another reader may have fallen behind


def put_now(runtime: ExecutionRuntime, item: Any, run: RunChunk | None, repeated: Repeated = None) -> None:
    """Put an item without waiting for readers, on the thread of the execution."""
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
    """Fix the result."""
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
        return default if value is UNSET else value
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
    model = runtime.program.state
    if model is not None and op == "set":
        value = model.check(key, value)
    elif model is not None and op == "append":
        model.check_item(key, held_value(runtime, repeated, key, ()), value)
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
    """Answer an interrupt, from any thread; returns it as it is when the answer is accepted."""
    return call(runtime, lambda: _answer(runtime, interrupt_id, value, request_id), "execution.async_continue_with")


def _answer(runtime: ExecutionRuntime, id: str, value: Any, request: str | None) -> dict[str, Any]:
    """In one piece, so that of several answers at once only one reaches the stream."""
    event = events.Resumed(runtime.environment.now(), id, value, request)
    interrupt, new = admit(runtime, event)
    if new:
        if runtime.link is None:
            answered = {**describe_interrupt(interrupt), "status": "resumed", "response": event.value}
            runtime.durability.check_answer(runtime, answered)
            put_interrupt(runtime, "resume", answered)
        driver_of(runtime)
        submit(runtime, event)
        (runtime.schemas or {}).pop(id, None)
    return describe_interrupt(interrupt)


def put_interrupt(runtime: ExecutionRuntime, action: str, interrupt: dict[str, Any]) -> None:
    """Put the stream item that shows an interrupt to readers: `action` is "pause" or "resume"."""
    item = {"type": "interrupt", "action": action, "execution_id": runtime.id, "interrupt": interrupt}
    enter(runtime, events.StreamPut(runtime.environment.now(), None, item), "execution.async_continue_with")


def checked(runtime: ExecutionRuntime, name: str, value: Any) -> Any:
    """The value for an event, checked if its type was declared. Raises `ContractError`."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{runtime!r}: an event goes by its name, a string; got {name!r}")
    signals = runtime.program.signals
    check = signals.get(name) if signals else None
    return value if check is None else check(value)


def check_delay(delay: Any) -> None:
    """Raise `UsageError` unless this is a time that can be waited for."""
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < math.inf:
        raise UsageError(f"a delay is a number of seconds from 0 on, got {delay!r}")
