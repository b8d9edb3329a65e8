"""Frames: the records of an execution, each with what it changed.

The machine replays the records. After each, its state is compared with what a reader of the frames so far knows
(`_Known`). Comparing all open runs each time would be slow. So only those are compared that the record can have
changed: the runs that it names, that its commands name, and those whose numbers are new. If the number of open runs
then differs from the expected one, the record has ended further runs (a cancellation, the end of a block), and all are
compared.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from .._core import commands, events
from .._core.errors import RecordsTrimmed
from .._core.machine import FINAL, Machine
from .._core.state import UNSET, RunChunk, Status
from ..drivers.tasks import start_task
from ..durable.executions.commit import session_of
from ..durable.format.reader import ExecutionReader, Place, Step
from ..stores.protocol import FINAL_STATUSES, ExecutionRow
from .shapes import Frame, QuestionChange, RunChange
from .values import failed, losses_of, shown, shown_record, state_info, sub_flow_of

#: The kind of a frame with the whole state.
MOMENT = "moment"
#: How many of the newest frames of an execution its followers share. A slower follower reads the store itself.
KEPT = 1000
#: Records after which any run can have changed.
_EVERYTHING = (events.Recovered, events.Retried)


class _Known:
    """What a reader of the frames so far knows: the open runs, questions, waits and timers."""

    def __init__(self, id: str, machine: Machine, after: int) -> None:
        state = machine.state
        self.id = id
        self.machine = machine
        self.definition = machine.plan.definition.fingerprint if after else ""
        #: the newest state of each open run, as `_look` returns it
        self.runs = {number: _look(run) for number, run in state.runs.items()}
        self.questions = {key: it.holds for key, it in (state.interrupts or {}).items() if it.status == "waiting"}
        self.waits = {number: wait.run.id for number, wait in (state.waits or {}).items() if wait.run is not None}
        #: the run whose next attempt a timer begins, and the frame that has started the timer
        self.retries = {timer: run for run, timer in (state.retries or {}).items()}
        self.timers: dict[int, int] = {}
        self.next_id = state.next_id

    def frame(self, step: Step, reader: ExecutionReader) -> Frame:
        """The frame of the next record."""
        record, machine, types = step.record, step.machine, reader.program.types
        state = machine.state
        number = step.number + 1
        kind, fields = shown_record(record, types)
        fired = record.timer if isinstance(record, events.TimerFired) else 0
        everything = machine is not self.machine or isinstance(record, _EVERYTHING)
        item = 0
        for command in step.commands:
            if isinstance(command, commands.Publish):
                item = command.number
        follows = self.timers.pop(fired, 0)
        runs = self._runs(step, everything, fired)
        questions = self._questions(step, everything)
        started: list[int] = []
        for command in step.commands:
            if isinstance(command, commands.StartTimer) and not isinstance(record, _EVERYTHING):
                self.timers[command.timer] = number
                started.append(command.timer)
            elif isinstance(command, commands.CancelTimer):
                self.timers.pop(command.timer, None)
                self.retries.pop(command.timer, None)
        definition = machine.plan.definition.fingerprint
        moved, self.definition, self.machine = definition != self.definition, definition, machine
        ended = state.status in FINAL
        has_result = ended and state.result is not UNSET and state.status is Status.COMPLETED
        return Frame(
            number=number,
            at=record.at,
            kind=kind,
            record=fields,
            status=state.status.value,
            runs=runs,
            questions=questions,
            item=item,
            follows=follows,
            timers=started,
            definition=definition if moved else "",
            has_result=has_result,
            result=shown(state.result, types) if has_result else None,
            error=failed(state.error) if ended else None,
        )

    def _runs(self, step: Step, everything: bool, fired: int) -> list[RunChange]:
        record, state = step.record, step.machine.state
        own: int | None = getattr(record, "run", None)
        seen = dict.fromkeys(it.id for it in step.commands if isinstance(it, RunChunk))
        if own is not None:
            seen[own] = None
        for command in step.commands:
            if isinstance(command, commands.WakeWaiter) and command.wait in self.waits:
                seen[self.waits.pop(command.wait)] = None
        if isinstance(record, events.WaitGivenUp | events.ExternalWaitEnded) and record.wait in self.waits:
            seen[self.waits[record.wait]] = None
        if fired in self.retries:
            seen[self.retries.pop(fired)] = None
        new = [number for number in range(self.next_id, state.next_id) if state.run(number) is not None]
        self.next_id = state.next_id
        seen.update(dict.fromkeys(new))
        ended = sum(number in self.runs and state.run(number) is None for number in seen)
        open_runs = len(state.many) if state.many is not None else int(state.sole is not None)
        if everything or len(self.runs) + sum(number not in self.runs for number in new) - ended != open_runs:
            seen.update(dict.fromkeys((*self.runs, *state.runs)))
        waiting = (state.waits or {}).get(step.number)
        if waiting is not None and waiting.run is not None:
            self.waits[step.number] = waiting.run.id
        if own is not None and state.retries and own in state.retries:
            self.retries[state.retries[own]] = own
        if everything:
            self.waits = {number: it.run.id for number, it in (state.waits or {}).items() if it.run is not None}
            self.retries = {timer: run for run, timer in (state.retries or {}).items()}
        changes = (self._change(number, state.run(number), step) for number in seen)
        return [it for it in changes if it is not None]

    def _change(self, number: int, run: RunChunk | None, step: Step) -> RunChange | None:
        """The change of one run; None if nothing has changed."""
        known = self.runs.get(number)
        if run is None:
            if known is None:
                return None
            del self.runs[number]
            _, attempt, losses, operator, chunk = known
            return RunChange(run=number, phase="ended", operator=operator, chunk=chunk, attempt=attempt, losses=losses)
        now = _look(run)
        if now == known:
            return None
        self.runs[number] = now
        by = getattr(step.record, "run", None) if run.signal == step.number else None
        return RunChange(
            run=number,
            phase=run.phase.name.lower(),  # pyright: ignore[reportArgumentType] - the names of `Phase`
            operator=run.node.id,
            chunk=run.node.name,
            attempt=run.attempt,
            losses=losses_of(run),
            cause=run.signal + 1,
            by=by,
            sub_flow=sub_flow_of(run, self.id) if known is None else None,
        )

    def _questions(self, step: Step, everything: bool) -> list[QuestionChange]:
        state = step.machine.state
        interrupts = state.interrupts or {}
        seen = dict.fromkeys(
            it.interrupt.id for it in step.commands if isinstance(it, commands.OpenInterrupt | commands.CloseInterrupt)
        )
        if isinstance(step.record, events.Resumed):
            seen[step.record.interrupt] = None
        opened = sum(name not in self.questions for name in seen if name in interrupts)
        if everything or len(self.questions) + opened != state.asking:
            seen.update(dict.fromkeys((*self.questions, *interrupts)))
        changes: list[QuestionChange] = []
        for name in seen:
            interrupt = interrupts.get(name)
            is_open = interrupt is not None and interrupt.status == "waiting"
            if is_open is (name in self.questions):
                continue
            inside = interrupt.holds if interrupt is not None else self.questions[name]
            if is_open:
                self.questions[name] = inside
            else:
                del self.questions[name]
            changes.append(QuestionChange(id=str(name), open=is_open, inside=inside))
        return changes


def _look(run: RunChunk) -> tuple[int, int, int, str, str]:
    return run.phase.value, run.attempt, losses_of(run), run.node.id, run.node.name


async def frames(reader: ExecutionReader, row: ExecutionRow, after: int) -> AsyncIterator[Frame]:
    """The frames of an execution after number `after`, up to the newest that `row` counts."""
    cutter = await _Cutter.at(reader, row, after)
    async for frame in cutter.frames(row):
        yield frame


class _Cutter:
    """Makes the frames of one execution, in order. `frames` can be called again when there are more records."""

    def __init__(self, reader: ExecutionReader, id: str) -> None:
        self._reader = reader
        self._id = id
        self._place: Place
        self._known: _Known
        #: a frame of the whole state to begin with, if the frames before it are gone
        self._first: Frame | None = None

    @classmethod
    async def at(cls, reader: ExecutionReader, row: ExecutionRow, after: int) -> "_Cutter":
        """Begin after frame `after`, or with a frame of the whole state if the next one is gone."""
        made = cls(reader, row.id)
        await made._begin(row, after)
        return made

    async def _begin(self, row: ExecutionRow, after: int) -> None:
        earliest = await self._reader.earliest(row)
        self._place, value = await self._reader.place(row, max(after, earliest))
        if earliest > after:
            self._first = _moment_frame(self._reader, row, self._place.machine, value)
        self._known = _Known(self._id, self._place.machine, max(after, earliest))

    @property
    def number(self) -> int:
        """The number of the last frame that was made."""
        return self._place.machine.state.records

    async def frames(self, row: ExecutionRow) -> AsyncIterator[Frame]:
        """Make the frames up to the newest that `row` counts."""
        while True:
            if self._first is not None:
                first, self._first = self._first, None
                yield first
            try:
                async for step in self._reader.steps_after(row, self._place):
                    self._place = step.place
                    yield self._known.frame(step, self._reader)
                return
            except RecordsTrimmed:
                row = await self._reader.row(self._id)
                if await self._reader.earliest(row) <= self.number:
                    raise
                await self._begin(row, self.number)  # a compaction has deleted the next records


class Followers:
    """The followers of one execution in this process: they share one replay and its newest frames.

    As long as there is a follower, one task reads the new records for all of them.
    """

    def __init__(self, reader: ExecutionReader, id: str) -> None:
        self._reader = reader
        self._id = id
        self.count = 0
        #: whether there will be no more frames: the execution has ended, or could not be read
        self.over = False
        self._error: Exception | None = None
        self._task: asyncio.Task[None] | None = None
        #: the newest frames in order. A follower that has frame `_floor`, or a later one, needs no frame before them
        self._frames: deque[Frame] = deque()
        self._floor = 0
        self._news = asyncio.Event()

    async def after(self, after: int) -> AsyncIterator[Frame]:
        """The frames after number `after`, and each new one, until the execution has ended."""
        # The first follower begins below every floor, so that it replays: the task continues its replay.
        number = -1 if self._task is None else after
        while True:
            if number < self._floor:  # the next frame is not among the shared ones
                row = await self._reader.row(self._id)
                cutter = await _Cutter.at(self._reader, row, max(number, after))
                async for frame in cutter.frames(row):
                    yield frame
                number = cutter.number
                if row.status in FINAL_STATUSES:
                    return
                if self._task is None:
                    self._floor = number
                    self._task = start_task(asyncio.get_running_loop(), self._read(cutter))
            elif new := self._newer(number):
                for frame in new:
                    number = frame.number
                    yield frame
            elif self._error is not None:
                raise self._error.with_traceback(None)
            elif self.over:
                return
            else:
                await self._news.wait()

    def _newer(self, number: int) -> list[Frame]:
        found: list[Frame] = []
        for frame in reversed(self._frames):
            if frame.number <= number:
                break
            found.append(frame)
        return found[::-1]

    async def _read(self, cutter: _Cutter) -> None:
        try:
            with session_of(self._reader.store).hub.watch(executions=[self._id]) as watch:
                while True:
                    row = await self._reader.row(self._id)
                    if row.records > cutter.number:
                        async for frame in cutter.frames(row):
                            self._add(frame)
                        self._wake_followers()
                    elif row.status in FINAL_STATUSES:
                        break
                    else:
                        await watch.changed()
        except Exception as error:  # each follower raises it
            self._error = error
        self.over = True
        self._wake_followers()

    def _add(self, frame: Frame) -> None:
        if frame.kind == MOMENT:  # it replaces all frames before it
            self._frames.clear()
            self._floor = 0
        self._frames.append(frame)
        if len(self._frames) > KEPT:
            self._floor = self._frames.popleft().number

    def _wake_followers(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def close(self) -> None:
        """Stop the task: there is no follower any more."""
        if self._task is not None:
            self._task.cancel()


def _moment_frame(reader: ExecutionReader, row: ExecutionRow, machine: Machine, value: object) -> Frame:
    state = state_info(row.id, row.flow, machine, value, reader.program.types)
    return Frame(
        number=state.moment,
        at=row.created,
        kind=MOMENT,
        status=state.status,
        definition=state.definition,
        state=state,
    )
