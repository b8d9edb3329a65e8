"""Frames: the records of an execution, each with what it changed.

The records are replayed by the machine, and its state is compared with what a reader of the frames so far knows
(`_Known`). Comparing everything after each record would cost as much as everything that is open. So only what a record
can have changed is looked at: the runs that it names, that its commands name, and those that are new by their number.
If the number of open runs differs from what follows from that, runs have ended in the wake of the record (a
cancellation, a block that ended), and then all are compared.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack

from .._core import commands, events
from .._core.errors import RecordsTrimmed
from .._core.machine import FINAL, Machine
from .._core.state import UNSET, RunChunk, Status
from ..durable.commit import session_of
from ..durable.hub import Watch
from ..durable.reader import ExecutionReader, Step
from ..stores.protocol import FINAL_STATUSES, ExecutionRow
from .shapes import Frame, QuestionChange, RunChange
from .values import failed, shown, shown_record, state_info, sub_flow_of

#: Records after which any run can have changed.
_EVERYTHING = (events.Recovered, events.Retried)


class _Known:
    """What a reader of the frames so far knows: the open runs, questions, waits and timers."""

    def __init__(self, id: str, machine: Machine, after: int) -> None:
        state = machine.state
        self.id = id
        self.machine = machine
        self.definition = machine.plan.definition.fingerprint if after else ""
        #: for each run: its phase, attempt and operator
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
        for command in step.commands:
            if isinstance(command, commands.StartTimer) and not isinstance(record, _EVERYTHING):
                self.timers[command.timer] = number
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
        """What has changed about one run; None if nothing has."""
        known = self.runs.get(number)
        if run is None:
            if known is None:
                return None
            del self.runs[number]
            _, attempt, operator, chunk = known
            return RunChange(run=number, phase="ended", operator=operator, chunk=chunk, attempt=attempt)
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


def _look(run: RunChunk) -> tuple[int, int, str, str]:
    return run.phase.value, run.attempt, run.node.id, run.node.name


async def frames(reader: ExecutionReader, row: ExecutionRow, after: int, follow: bool) -> AsyncIterator[Frame]:
    """The frames of an execution after number `after`; with `follow`, also those that come, until it ends."""
    with ExitStack() as stack:
        watch: Watch | None = None
        if follow:
            watch = stack.enter_context(session_of(reader.store).hub.watch(executions=[row.id]))
            row = await reader.row(row.id)
        earliest = await reader.earliest(row)
        place, value = await reader.place(row, max(after, earliest))
        if earliest > after:
            yield _moment_frame(reader, row, place.machine, value)
            after = earliest
        known = _Known(row.id, place.machine, after)
        while True:
            try:
                async for step in reader.steps_after(row, place):
                    place = step.place
                    yield known.frame(step, reader)
            except RecordsTrimmed:
                row = await reader.row(row.id)
                if await reader.earliest(row) <= place.machine.state.records:
                    raise
                place, value = await reader.place(row, await reader.earliest(row))  # a compaction was faster
                yield _moment_frame(reader, row, place.machine, value)
                known = _Known(row.id, place.machine, place.machine.state.records)
                continue
            if watch is None or row.status in FINAL_STATUSES:
                return
            while row.records == place.machine.state.records and row.status not in FINAL_STATUSES:
                await watch.changed()
                row = await reader.row(row.id)


def _moment_frame(reader: ExecutionReader, row: ExecutionRow, machine: Machine, value: object) -> Frame:
    state = state_info(row.id, row.flow, machine, value, reader.program.types)
    return Frame(
        number=state.moment,
        at=row.created,
        kind="moment",
        status=state.status,
        definition=state.definition,
        state=state,
    )
