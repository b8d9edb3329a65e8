"""An execution that another process runs, as the handles of this process see it.

The *mirror* replays the records that the owner stores, as soon as the store announces them. So the status, the state,
the questions, the stream and the end of the execution are read from the runtime of the handle, as if it ran here. What
changes the execution is posted to its owner, and its reply is waited for.
"""

import asyncio
from collections.abc import Callable, Container
from contextlib import suppress
from threading import current_thread
from typing import TYPE_CHECKING, Any, Final, NoReturn
from weakref import finalize, ref

from ..._core import commands, events
from ..._core.commands import AnyCommand
from ..._core.definition import OperatorKind
from ..._core.errors import (
    ExecutionSuspended,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    TriggerFlowError,
    UsageError,
)
from ..._core.machine import FINAL
from ..._core.state import RunChunk
from ...run.actions import Action
from ...run.journal import RingJournal
from ...run.runtime import ExecutionRuntime
from ...stores.protocol import FINAL_STATUSES, UNFINISHED_STATUSES, ExecutionRow
from ..format.loading import PAGE, replay_record
from ..format.metadata import read_options
from ..format.reader import ExecutionReader
from ..hub import Watch
from .requests import read_reply, write_request

if TYPE_CHECKING:
    from .stored import Stored

#: While somebody waits for an execution of another process, the mirror looks after so many seconds whether the owner is
#: alive. The pause doubles, up to the second number.
BEAT, LONGEST_BEAT = 1.0, 8.0

#: What `Mirror.ask` returns if the execution has ended, and its owner has not performed the action.
ENDED: Final[Any] = object()

#: The method to await in place of a call that does not wait, by the record that the call would make.
_AWAITED: dict[type[events.Event], str] = {
    events.Started: "execution.async_begin",
    events.Created: "execution.async_begin",
    events.Emitted: "execution.async_emit",
    events.SignalsCancelled: "execution.async_cancel_signal",
    events.StreamPut: "execution.async_put_into_stream",
    events.StreamStopped: "execution.async_stop_stream",
    events.ResultSet: "execution.async_set_result",
    events.Resumed: "execution.async_continue_with",
}


class MirrorLog:
    """Stands in for the commit buffer: nothing is recorded here."""

    def __init__(self, execution: object, items: int) -> None:
        self._execution = execution
        #: why the mirror has ended, although the execution has not
        self.suspended: BaseException | None = None
        self.items = items
        self.is_committed = True
        self.is_crowded = False

    def encode(self, event: events.Event) -> NoReturn:
        """Refuse a record."""
        awaited = _AWAITED.get(type(event), "an async method")
        if isinstance(event, events.StateChanged):
            awaited = f"execution.state.async_{event.op}"
        raise UsageError(
            f"{self._execution!r} runs in another process, which has to be asked for this; write `await {awaited}(...)`"
        )

    def hold(self, record: bytes, commands: list[AnyCommand]) -> list[AnyCommand]:
        """Never called: `encode` has refused the record."""
        raise NotImplementedError

    async def touch(self) -> None:
        """There is nothing to commit."""

    async def wait_committed(self) -> None:
        """All that the mirror knows is in the store."""


class MirrorDriver:
    """Stands in for the driver: it performs nothing. Callers wait in it for the signals that they have emitted."""

    def __init__(self, runtime: ExecutionRuntime) -> None:
        self.loop = asyncio.get_running_loop()
        self._runtime = runtime
        #: the waits that callers of this process have begun, and whether they have ended
        self._waits: dict[int, bool] = {}

    def start(self, event: events.Started) -> None:
        """See `MirrorLog.encode`."""
        raise UsageError("the execution runs in another process; write `await execution.async_begin(...)`")

    def perform(self, commands: list[AnyCommand]) -> None:
        """Nothing is performed here."""

    def hurry(self) -> None:
        """Nothing is performed here."""

    def current_run(self) -> RunChunk | None:
        """No chunk runs here."""
        return None

    async def settled(self, number: int) -> bool:
        """Wait until the wait that began with record `number` has ended; False if the execution ends before."""
        self._waits[number] = False

        def over() -> bool:
            if self._waits[number] or self._runtime.driver is self:
                return self._waits[number]
            state = self._runtime.machine.state  # this process has taken the execution over
            return state.status not in FINAL and number not in (state.waits or ())

        try:
            return await self._runtime.until(over, every_record=True)
        finally:
            del self._waits[number]

    def settle(self, number: int) -> None:
        """The wait has ended."""
        if number in self._waits:
            self._waits[number] = True

    def settle_all_but(self, waits: Container[int]) -> None:
        """Of all waits, only these have not ended."""
        for number in self._waits:
            self._waits[number] = number not in waits

    async def without_permits(self, run: RunChunk, wait: Callable[[], Any]) -> None:
        """No chunk runs here."""
        await wait()

    def on_loop_closed(self, reason: str) -> None:
        """Nothing runs on the loop."""

    def stop(self) -> dict[asyncio.Task[None], str]:
        """Nothing runs here."""
        return {}


async def _follow(mirror: "ref[Mirror]", watch: Watch) -> None:
    """Bring a mirror up to date after each change. It refers to the mirror weakly, so that an execution which nobody
    uses any more is dropped."""
    with watch:
        while True:
            try:
                await watch.changed()
            except (StoreError, UsageError) as error:  # the store was closed
                if (found := mirror()) is not None:
                    found.store_closed(error)
                return
            found = mirror()
            if found is None:
                return
            await found.refresh()
            del found


def _cancel_soon(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    """Called by the garbage collector, on any thread."""
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(task.cancel)


class _Child:
    """A sub-flow of a mirrored execution, of which only the status is known."""

    #: it has none in this process
    durability = None

    def __init__(self, status: str) -> None:
        self._status = status

    def status(self) -> str:
        """Its status in the store."""
        return self._status


class Mirror:
    """Keeps the runtime of one execution as the store has it."""

    def __init__(self, stored: "Stored") -> None:
        self._stored = stored
        self._runtime = stored.runtime
        self._session = stored.session
        self._reader = ExecutionReader(stored.runtime.program, stored.session.store)
        self._log = MirrorLog(stored.runtime, 0)
        self._driver = MirrorDriver(stored.runtime)
        #: held while records are read
        self._lock = asyncio.Lock()
        #: the fingerprint of the definition of the newest records
        self._definition = ""
        self._beating: asyncio.Task[None] | None = None
        #: whether no process ran the execution when its row was read last
        self.lacks_owner = False
        #: whether the last refresh has failed
        self._has_failed = False
        #: ids of the execution and of the sub-flows that have run since the mirror was made
        self._watched = {stored.runtime.id}
        self._watch = self._session.hub.watch(executions=self._watched, own=False)
        self._following = self._session.run_in_background(_follow(ref(self), self._watch))
        self._dropped = finalize(self, _cancel_soon, self._driver.loop, self._following)
        self._dropped.atexit = False

    # -- reading -----------------------------------------------------------------------------------------------------

    async def begin(self, row: ExecutionRow) -> None:
        """Read the execution for the first time. Raises what `ExecutionReader.restore` raises."""
        runtime = self._runtime
        runtime.options = read_options(row.options)
        runtime.log, runtime.driver = self._log, self._driver
        runtime.thread = None if runtime.environment.any_thread else current_thread().ident
        async with self._lock:
            await self._restore(await self._read_row())
        self._require_shown()
        limit = runtime.options.journal_limit if runtime.options.attended else 0
        runtime.journal = RingJournal(limit, () if runtime.journal is None else runtime.journal.observers)
        runtime.journal.first = runtime.machine.state.records

    async def _restore(self, row: ExecutionRow) -> None:
        """Read the state after the newest record."""
        restored = await self._reader.restore(row, row.records)
        runtime = self._runtime
        runtime.machine, runtime.start_value = restored.machine, restored.value
        self._definition = row.definition
        self._driver.settle_all_but(restored.machine.state.waits or ())
        self._show_items(restored.machine.state.stream)
        await self._read_children(row)
        self._after_records()

    def _show_items(self, last: int) -> None:
        """Let readers know of items that only the store has."""
        self._log.items = last
        if self._runtime.stream is not None:
            self._stored.prepare_stream(self._runtime, self._runtime.stream)
            self._runtime.stream.skip_to(last)

    async def _read_row(self) -> ExecutionRow:
        row = await self._reader.row(self._runtime.id)
        self.lacks_owner = self._stored.is_free(row)
        return row

    async def catch_up(self) -> ExecutionRow:
        """Replay the records that are new. Returns the row of the execution. Raises `StoreError`, and the reason if the
        mirror was given up meanwhile."""
        row = await self._read_row()  # before the wait for another one that catches up: that may replay all of it
        async with self._lock:
            self._require_shown()
            state = self._runtime.machine.state
            if row.definition != self._definition or row.records < state.records:
                row = await self._read_row()  # the other one has seen a newer row
                self._require_shown()
                state = self._runtime.machine.state
            if row.definition != self._definition or row.records < state.records:
                await self._restore(row)
            elif row.records > state.records:
                await self._replay(row)
                await self._read_children(row)
                self._after_records()
            elif row.status not in FINAL_STATUSES:
                await self._read_children(row)
            return row

    def _require_shown(self) -> None:
        """Raise the reason if the mirror was given up while it read: a caller that waited in it would not be woken."""
        if self._log.suspended is not None:
            raise self._log.suspended

    async def _replay(self, row: ExecutionRow) -> None:
        runtime = self._runtime
        async for number, record in self._reader.journal(row, runtime.machine.state.records, row.records):
            machine = runtime.machine
            if number != machine.state.records or type(record) is events.Retried:
                await self._restore(row)
                return
            if isinstance(record, events.Started):
                runtime.start_value = record.value
            following = replay_record(machine, record, row.id)
            for command in following:
                self._show(command)
            self._log.items = machine.state.stream
            if runtime.journal is not None:
                runtime.journal.append(record)
            if not number % PAGE:
                await asyncio.sleep(0)
        if runtime.machine.state.records < row.records:
            raise StoreDamaged(f"execution {row.id!r}: record {runtime.machine.state.records} is missing in the store")

    def _show(self, command: AnyCommand) -> None:
        """Perform what readers and waiters need of a command. The owner performs everything else."""
        runtime = self._runtime
        match command:
            case commands.Publish(number=number, item=item, path=path):
                if runtime.stream is not None and number == runtime.stream.last + 1:
                    runtime.stream.publish(number, item, path)
            case commands.StopStream():
                runtime.open_stream().end()
            case commands.WakeWaiter(wait=number):
                self._driver.settle(number)
            case commands.Rested() | commands.ResultFixed() | commands.OpenInterrupt():
                runtime.wake()
            case _:
                pass

    async def _read_children(self, row: ExecutionRow) -> None:
        """Read the status of the sub-flows: an execution waits if all that it runs are sub-flows that wait."""
        runtime, found = self._runtime, dict[str, Any]()
        for child in await self._running_children(row):
            if child.id not in self._watched:
                self._watched.add(child.id)
                self._watch.add("executions", (child.id,))
            waits = child.status == "waiting" or await self._waits_for_children(child)
            found[child.id] = _Child("waiting" if waits else child.status), ""
        runtime.forget_children()
        if found:
            runtime.children.update(found)

    async def _running_children(self, row: ExecutionRow) -> list[ExecutionRow]:
        if row.id == self._runtime.id and not any(
            run.node.kind is OperatorKind.SUB_FLOW for run in self._runtime.machine.state.runs.values()
        ):
            return []
        store, found, after = self._session.store, list[ExecutionRow](), None
        while page := await store.executions(parent=row.id, status=UNFINISHED_STATUSES, after=after, limit=PAGE):
            found += page
            if len(page) < PAGE:
                break
            after = page[-1].id
        return found

    async def _waits_for_children(self, row: ExecutionRow) -> bool:
        children = await self._running_children(row)
        waiting = [child.status == "waiting" or await self._waits_for_children(child) for child in children]
        return bool(children) and all(waiting)

    def _after_records(self) -> None:
        runtime = self._runtime
        if runtime.machine.state.status in FINAL:
            runtime.driver = None
            self.end()
            runtime.wake_all(runtime.why_ended())
        elif runtime.waited_for:
            runtime.wake()

    # -- following ---------------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """`catch_up`. A failure of the store is tried again later; after any other one the mirror is given up."""
        try:
            await self.catch_up()
        except StoreUnavailable:
            self._has_failed = True  # the next beat or change tries again
        except (TriggerFlowError, LookupError) as error:
            self.give_up(error)
        else:
            self._has_failed = False

    def give_up(self, why: BaseException) -> None:
        """The execution cannot be read any more: tell all who wait for it."""
        self._log.suspended = why
        self._stored.drop_mirror(self)
        self._runtime.wake_all(lambda: why)
        self._runtime.stream = None

    def store_closed(self, error: BaseException) -> None:
        """Give the mirror up, since a closed store reports no more changes: its waiters would wait for ever."""
        why = ExecutionSuspended(f"{self._runtime!r} is shown here no longer: its store was closed")
        why.__cause__ = error
        self.give_up(why)

    def end(self) -> None:
        """Follow the execution no longer."""
        self._dropped.detach()
        if self._following is not asyncio.current_task():
            self._following.cancel()
        else:
            self._watch.close()
        if self._beating is not None and self._beating is not asyncio.current_task():
            self._beating.cancel()
        self._beating = None

    def beat(self) -> None:
        """While somebody waits, find out from time to time whether the owner is alive."""
        if self._beating is None:
            self._beating = self._session.run_in_background(self._beat())

    async def _beat(self) -> None:
        pause = BEAT
        try:
            while self._stored.mirror is self:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_BEAT)
                if not self._runtime.waited_for:
                    return
                if self._has_failed:
                    await self.refresh()
                with suppress(TriggerFlowError):  # while this process cannot read or run it, another one may
                    row = await self._read_row()
                    if self.lacks_owner and row.status not in FINAL_STATUSES:
                        await self._stored.open(self._runtime)
        finally:
            self._beating = None

    # -- asking the owner --------------------------------------------------------------------------------------------

    async def ask(self, action: Action, arguments: tuple[Any, ...]) -> Any:
        """Post a request to the owner, and wait for its reply. Returns `ENDED` if the execution has ended before it was
        performed. Raises the error in the reply, `PayloadError`, and `StoreError`.

        If the wait is cancelled, the request is withdrawn; if its owner has fetched it already, it may be performed.
        """
        runtime, store = self._runtime, self._session.store
        types = runtime.program.types
        id = runtime.environment.new_id()
        request = write_request(id, runtime.id, action, arguments, types, self._stored.now())
        posted, pause = True, BEAT
        watch = self._session.hub.watch(executions=[runtime.id], requests=[id], own=False)
        try:
            found = [await store.post(request)]
            while True:
                if found and found[0].reply is not None:
                    posted = False
                    answer = read_reply(found[0].reply, types)
                    if self._stored.mirror is not None:
                        await self._stored.mirror.catch_up()
                    return answer
                row = await self._reader.row(runtime.id)
                if row.status in FINAL_STATUSES:
                    if await store.withdraw(id) is None:
                        posted = False
                        await self.catch_up()
                        return ENDED
                    found = await store.requests([id])
                    continue
                if self._stored.is_free(row):
                    await self._stored.open(runtime)
                try:
                    async with asyncio.timeout(pause):
                        await watch.changed()
                except TimeoutError:
                    pause = min(2 * pause, LONGEST_BEAT)
                else:
                    pause = BEAT
                found = await store.requests([id])
        finally:
            watch.close()
            if posted:
                self._session.run_in_background(self._withdraw(id))

    async def _withdraw(self, id: str) -> None:
        with suppress(StoreError, UsageError):
            await self._session.store.withdraw(id)
