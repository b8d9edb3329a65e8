"""The part of a worker that starts the executions of schedules.

For every due schedule of its flows a worker decides by `schedule_state.look` what to start, and stores the executions
and the new state of the schedule in one transaction. If another worker has changed the schedule before, the transaction
fails, and the schedule is read again. The new executions have no owner, so that any worker claims them.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from ..._core.errors import StoreConflict, StoreDamaged, StoreError, UnknownExecution, without_values
from ...drivers.tasks import start_task
from ...run.environment import Environment
from ...run.execution import Execution
from ...run.flow_runtime import FlowRuntime
from ...stores.protocol import Append, ScheduleRow, Store
from ..executions.submission import submission_of
from ..schedules.schedule_state import ScheduleState, execution_id, look, read_state, write_row
from ..schedules.schedules import MANY_RUNNING, labels_of, without_ended

logger = logging.getLogger("triggerflow")

#: How often a schedule is read again whose next tick waits for the end of an execution, in seconds.
RECHECK = 1.0


class ScheduledFlow(Protocol):
    """What the scheduling needs of a flow."""

    async def async_resume(self, id: str, *, store: Store) -> Execution:
        """Open an execution that is in the store."""
        ...

    def __flow_runtime__(self) -> FlowRuntime: ...


class Scheduling:
    """Starts the due executions of the schedules of some flows. Flows that are not `TriggerFlow`s are left out."""

    def __init__(self, store: Store, flows: Mapping[str, Any], environment: Environment) -> None:
        self._store, self._environment = store, environment
        self._flows: dict[str, ScheduledFlow] = {
            name: flow for name, flow in flows.items() if hasattr(flow, "__flow_runtime__")
        }
        #: when the next schedule has to be read; only valid if `_is_current`
        self._again: float | None = None
        self._is_current = False
        #: schedules that cannot be read here, by id: the version that was logged
        self._unreadable: dict[str, str] = {}
        #: executions that are being cancelled, so that a tick can start, by id
        self._cancelling: dict[str, asyncio.Task[None]] = {}

    def forget(self) -> None:
        """Called when schedules may have changed: read them again."""
        self._is_current = False

    async def start_due(self) -> float | None:
        """Start what is due now. Returns when to call again, in seconds since the epoch; None if nothing is scheduled.

        Reads the store only if something is due, or after `forget`. Raises `StoreError`.
        """
        if not self._is_current or (self._again is not None and self._again <= self._environment.now()):
            self._is_current = True  # a change from here on makes it invalid
            try:
                self._again = await self._look_at_all()
            except BaseException:
                self._is_current = False
                raise
        return self._again

    async def _look_at_all(self) -> float | None:
        after: tuple[float, str] | None = None
        again: float | None = None
        while page := await self._store.next_schedules(self._flows, after=after):
            for row in page:
                now = self._environment.now()
                assert row.due is not None  # the others have none
                if row.due > now:
                    return row.due if again is None else min(again, row.due)
                if self._unreadable.get(row.id) != row.version and await self._catch_up(row):
                    again = now + RECHECK
            after = page[-1].due or 0.0, page[-1].id
        return again

    async def stop(self) -> None:
        """Cancel the background tasks."""
        tasks = list(self._cancelling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _catch_up(self, found: ScheduleRow) -> bool:
        """Start what is due of a schedule. Returns whether a tick waits for the end of an execution."""
        row: ScheduleRow | None = found
        while row is not None and row.due is not None and row.due <= self._environment.now():
            try:
                following = await self._look(row)
            except StoreConflict:  # it was changed meanwhile, by another worker or a user
                row = await self._store.schedule(row.id)
            except Exception as error:
                if isinstance(error, StoreError) and not isinstance(error, StoreDamaged):
                    raise
                # Its data is damaged or of a newer release, or this machine does not know its time zone.
                return self._skip(row, error)
            else:
                if following is None:
                    return True
                row = following
        return False

    def _skip(self, row: ScheduleRow, why: Exception) -> bool:
        self._unreadable[row.id] = row.version
        text = "schedule %r of flow %r cannot be used here; it is skipped until it is put again: %s"
        logger.error(text, row.id, row.flow, without_values(why))
        return False

    async def _look(self, row: ScheduleRow) -> ScheduleRow | None:
        """Store the next decision for a schedule. Returns its new row; None if there is nothing to change."""
        state = read_state(row)
        if state.overlap != "allow" or len(state.running) > MANY_RUNNING:
            state = await without_ended(self._store, state)
        now = self._environment.now()
        found = look(row.id, state, now)
        after, starts = found.state, list[Append]()
        for tick in found.starts:
            id = execution_id(row.id, tick)
            try:
                starts.append(await self._start(row, state, id, tick, now))
            except StoreError:
                raise
            except Exception as error:  # the start value does not fit the flow any more, for example
                why = f"{type(error).__name__}: {without_values(error)}"[:500]
                logger.error("schedule %r of flow %r cannot start %r: %s", row.id, row.flow, id, why)
                after = msgspec.structs.replace(after, error=why)
            else:
                after = msgspec.structs.replace(after, running=(*after.running, id), latest=id, error=None)
        if found.cancels:
            self._cancel(row.flow, state.running)
        if after == state:
            return None
        new = write_row(row, after, found.due, self._environment.new_id())
        try:
            await self._store.put_schedule(new, replaces=row.version, starts=starts)
        except StoreConflict:
            known = [start for start in starts if await self._store.find(start.execution) is not None]
            if not known:
                raise
            # A schedule of this id was deleted and put again, or the file is an older copy: these ticks were started.
            await self._store.put_schedule(
                new, replaces=row.version, starts=[start for start in starts if start not in known]
            )
        return new

    async def _start(self, row: ScheduleRow, state: ScheduleState, id: str, tick: float, now: float) -> Append:
        flow = self._flows[row.flow].__flow_runtime__()
        value = flow.types.unpack(state.value)
        return await submission_of(flow, self._store, id, value, now, labels_of(row.id, state, tick))

    def _cancel(self, flow: str, executions: tuple[str, ...]) -> None:
        """Cancel executions in the background."""
        for id in executions:
            if id not in self._cancelling:
                task = start_task(asyncio.get_running_loop(), self._cancel_one(flow, id))
                self._cancelling[id] = task
                task.add_done_callback(lambda _, id=id: self._cancelling.pop(id, None))

    async def _cancel_one(self, flow: str, id: str) -> None:
        try:
            execution = await self._flows[flow].async_resume(id, store=self._store)
            await execution.async_cancel("the next tick of its schedule is due")
        except UnknownExecution:
            pass
        except Exception as error:
            text = "execution %r cannot be cancelled for the next tick of its schedule; it is tried again: %s"
            logger.warning(text, id, without_values(error))
