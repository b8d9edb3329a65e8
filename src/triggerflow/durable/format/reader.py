"""Reads executions of one flow out of the store: their rows, their records, and their state after any record.

Records can be replayed only with the definition under which they were written. If an execution was migrated to a newer
definition, a snapshot under the newer one names the older one. So an execution has a list of *starts*: points from
which it can be replayed, each with its definition.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from ..._core import events
from ..._core.commands import AnyCommand
from ..._core.errors import ProtocolError, RecordsTrimmed, StoreDamaged, StoreError, UnknownExecution, UsageError
from ..._core.machine import FINAL, Machine
from ..._core.operators import compile_plan
from ..._core.plan import Plan
from ..._core.state import UNSET, RunChunk, RunState
from ...drivers.asyncio import REAL
from ...run.program import Program
from ...run.subflow import path_of
from ...stores.protocol import FINAL_STATUSES, ExecutionRow, Store
from .codec import decode
from .loading import PAGE, RestoredExecution, definition_before, from_snapshot, replay_record, write_snapshot
from .metadata import numbered_id, of_another_flow, predates_declared_events, read_definition


class Start(NamedTuple):
    """A point from which an execution can be replayed: a snapshot after `records` records, or the first record."""

    records: int
    definition: str
    snapshot: bytes | None
    #: whether records before it were written under another definition
    migrated: bool = False
    #: whether it is the state just after a `Retried` record, and not a snapshot of the store
    follows_retry: bool = False


class Place(NamedTuple):
    """Where a replay goes on: a machine, and the latest start from which a replay can come to its state."""

    machine: Machine
    origin: Start


class Step(NamedTuple):
    """One replayed record: its chunk ("" if none), the commands of the machine, and the machine after it."""

    number: int
    record: events.Record
    chunk: str
    commands: list[AnyCommand]
    machine: Machine
    #: the run in whose name it was recorded, as it was before
    run: RunChunk | None = None
    #: the latest point from which a replay can come to this record
    origin: Start = Start(0, "", None)

    @property
    def place(self) -> Place:
        """Where a replay goes on after this step."""
        return Place(self.machine, self.origin)


class ExecutionReader:
    """Reads the executions of one flow in one store."""

    def __init__(self, program: Program, store: Store, now: Callable[[], float] = REAL.now) -> None:
        self.program = program
        self.store = store
        self.now = now

    def child(self, flow: str) -> "ExecutionReader | None":
        """The reader for the executions of a sub-flow; None if no step of this flow runs a flow of that name now."""
        known = self.program.sub_flows.get(flow)
        return None if known is None else ExecutionReader(known.__flow_runtime__().program(), self.store, self.now)

    async def newest_child(self, row: ExecutionRow, step: RunChunk) -> ExecutionRow | None:
        """The newest execution that a sub-flow step of an execution has made; None if it has made none."""
        for number in range(step.attempt, 0, -1):
            found = await self.store.find(numbered_id(f"{row.id}/{path_of(step)}", number))
            if found is not None:
                return found
        return None

    async def row(self, id: str) -> ExecutionRow:
        """The row of an execution. Raises `UnknownExecution`, and `UsageError` if it belongs to another flow."""
        row = await self.store.find(id)
        if row is None:
            raise UnknownExecution(f"there is no execution {id!r} in {self.store!r}")
        if row.flow != self.program.name:
            raise of_another_flow(id, row.flow, self.program.name)
        return row

    async def starts(self, row: ExecutionRow) -> list[Start]:
        """The points from which an execution can be replayed, the earliest first. Records before the earliest point are
        trimmed."""
        found: list[Start] = []
        definition, until = row.definition, row.records
        while until >= 0 and (snapshot := await self.store.snapshot(row.id, records=until)) is not None:
            found.append(_start(row, snapshot, definition))
            definition, until = definition_before(snapshot[2]) or definition, snapshot[0] - 1
        first = await self.store.records(row.id, limit=1)
        if (first and first[0][0] == 0) or (not found and not row.records):
            found.append(Start(0, definition, None))
        return found[::-1]

    async def earliest(self, row: ExecutionRow) -> int:
        """The smallest number of records after which the state can be restored: 0, unless records were trimmed."""
        starts = await self.starts(row)
        return starts[0].records if starts else row.records

    async def restore(self, row: ExecutionRow, records: int) -> RestoredExecution:
        """Restore an execution as it was after its first `records` records, under the definition that it had then.

        Raises `RecordsTrimmed`, `UsageError` if it has fewer records, `StoreDamaged`, and `SnapshotError` for a type
        that is not registered.
        """
        place, value = await self.place(row, records)
        return RestoredExecution(place.machine, value)

    async def place(self, row: ExecutionRow, records: int) -> "tuple[Place, Any]":
        """The machine after the first `records` records, from which `steps_after` goes on, and the start value of the
        execution. Raises what `restore` raises."""
        if records == row.records:
            start = await self._latest(row)
        else:
            start = self._start_before(row, await self.starts(row), records)
        machine, value = await self._begin(row, start)
        last = None
        async for step in self._replay(row, machine, records, {}, start):
            last = step
            if isinstance(step.record, events.Started):
                value = step.record.value
        return Place(machine, start) if last is None else last.place, value

    async def steps(
        self,
        row: ExecutionRow,
        first: int = 0,
        end: int | None = None,
        check: Callable[[events.Record], None] = lambda _: None,
    ) -> AsyncIterator[Step]:
        """Replay the records from `first` on, or from the earliest that can be replayed, up to `end` (not included).

        `check` is called with each record before it is replayed."""
        starts = await self.starts(row)
        start = self._start_before(row, starts, max(first, starts[0].records if starts else 0))
        machine = (await self._begin(row, start)).machine
        migrations = {it.records: it for it in starts if it.migrated and it.records > start.records}
        until = row.records if end is None else end
        async for step in self._replay(row, machine, until, migrations, start, check):
            if step.number >= first:
                yield step

    async def steps_after(self, row: ExecutionRow, place: Place) -> AsyncIterator[Step]:
        """Replay the records of an execution that come after a place, up to the newest that `row` counts.

        The machine of the place goes on, or that of the newer definition to which the execution was moved meanwhile.
        Raises `RecordsTrimmed` if a compaction has deleted the next record: `earliest` is larger then."""
        machine, migrations = place.machine, dict[int, Start]()
        if row.definition != machine.plan.definition.fingerprint:
            starts = await self.starts(row)
            migrations = {it.records: it for it in starts if it.migrated and it.records >= machine.state.records}
        async for it in self._replay(row, machine, row.records, migrations, place.origin):
            yield it

    async def _replay(
        self,
        row: ExecutionRow,
        machine: Machine,
        end: int,
        migrations: Mapping[int, Start],
        origin: Start,
        check: Callable[[events.Record], None] = lambda _: None,
    ) -> AsyncIterator[Step]:
        """Replay the records that the machine has not received, up to `end` (not included).

        `origin` is the start of the machine. A `Retried` record needs the state before the failure, which comes from a
        second replay of the records since `origin`. After it, `origin` is the state with which the execution runs
        again: so no record is replayed more than twice, however often the execution was retried.
        """
        async for number, record in self.journal(row, machine.state.records, end):
            if number in migrations:
                origin = migrations[number]
                machine = (await self._begin(row, origin)).machine
            if number != machine.state.records:
                raise await self._missing(row, machine.state.records)
            check(record)
            run = machine.state.runs.get(getattr(record, "run", None) or 0)
            if type(record) is events.Retried:
                await self._retry(row, machine, record, origin)
                state = write_snapshot(RestoredExecution(machine, UNSET), self.program.types)
                origin = Start(number + 1, machine.plan.definition.fingerprint, state, follows_retry=True)
                commands = []
            else:
                commands = replay_record(machine, record, row.id)
            yield Step(number, record, run.node.name if run else "", commands, machine, run, origin)
        if machine.state.records < end:
            raise await self._missing(row, machine.state.records)

    async def _retry(self, row: ExecutionRow, machine: Machine, record: events.Retried, origin: Start) -> None:
        """Replay a `Retried` record. Raises `StoreDamaged` if it does not fit those before it."""
        number = machine.state.records
        try:
            if record.failed >= number or (record.failed < origin.records and origin.follows_retry):
                raise ProtocolError(f"record {record.failed} did not end the execution")
            machine.retry(record, await self._state_before(row, machine.plan, record.failed, origin))
        except ProtocolError as error:
            raise StoreDamaged(f"execution {row.id!r}: record {number} does not follow: {error}") from error

    async def _state_before(self, row: ExecutionRow, plan: Plan, records: int, origin: Start) -> RunState:
        """The state after the first `records` records, replayed from `origin` under the plan of the outer replay."""
        if records < origin.records:  # a snapshot was written while the execution was closing
            origin = self._start_before(row, await self.starts(row), records)
        if origin.definition != plan.definition.fingerprint:
            raise ProtocolError("the execution was moved to another definition between its failure and the retry")
        machine = self._begin_under(plan, row, origin).machine
        async for step in self._replay(row, machine, records, {}, origin):
            machine = step.machine
        return machine.state

    async def journal(self, row: ExecutionRow, first: int, end: int) -> AsyncIterator[tuple[int, events.Record]]:
        """Read the records from `first` up to `end` (not included). Records that are trimmed at the beginning are
        skipped.

        Raises `UnknownExecution` if the execution was deleted while it was read, and `RecordsTrimmed` if it was
        compacted meanwhile."""
        whole = False  # a compaction deletes all records up to some number, except items: after another record, none
        while first < end:
            rows = await self.store.records(row.id, first=first, limit=min(PAGE, end - first))
            rows = [(number, data) for number, data in rows if number < end]
            if not rows:
                if whole or await self.store.find(row.id) is None:
                    raise await self._missing(row, first)
                return
            records = await decode([data for _, data in rows], self.program.types, self.store.payloads)
            for (number, _), record in zip(rows, records, strict=True):
                if whole and number != first:
                    raise await self._missing(row, first)
                whole = whole or not isinstance(record, events.StreamPut)
                yield number, record
                first = number + 1
            if first < end:
                await asyncio.sleep(0)  # a store in memory answers at once: others would wait for the whole replay

    async def _missing(self, row: ExecutionRow, number: int) -> StoreError:
        """The error for a record that the store does not have."""
        found = await self.store.find(row.id)
        if found is None:
            return UnknownExecution(f"execution {row.id!r} was deleted while it was read, at record {number}")
        earliest = await self.earliest(found)
        if number < earliest:
            return RecordsTrimmed(
                f"execution {row.id!r} was compacted while it was read, at record {number}; the earliest state left is "
                f"after {earliest} records"
            )
        return StoreDamaged(f"execution {row.id!r}: record {number} is missing in the store")

    async def _latest(self, row: ExecutionRow) -> Start:
        """The start for its newest state, found without reading the earlier starts."""
        snapshot = await self.store.snapshot(row.id, records=row.records)
        return Start(0, row.definition, None) if snapshot is None else _start(row, snapshot, row.definition)

    def _start_before(self, row: ExecutionRow, starts: list[Start], records: int) -> Start:
        given: Any = records
        if isinstance(given, bool) or not isinstance(given, int):
            raise UsageError(f"a state is named by a number of records, 0 to {row.records}; got {records!r:.100}")
        if not 0 <= records <= row.records:
            raise UsageError(f"execution {row.id!r} has {row.records} records; there is no state after {records}")
        fit = [start for start in starts if start.records <= records]
        if not fit:
            earliest = f"the earliest state left is after {starts[0].records} records" if starts else "no state is left"
            raise RecordsTrimmed(
                f"execution {row.id!r} was compacted, which deleted its state after {records} records; {earliest}"
            )
        return fit[-1]

    async def _begin(self, row: ExecutionRow, start: Start) -> RestoredExecution:
        return self._begin_under(await self._plan(row, start), row, start)

    def _begin_under(self, plan: Plan, row: ExecutionRow, start: Start) -> RestoredExecution:
        if start.snapshot is None:
            return RestoredExecution(Machine(plan), UNSET)
        restored = from_snapshot(start.snapshot, plan, self.program.types)
        if restored.machine.state.records != start.records:
            raise StoreDamaged(
                f"execution {row.id!r}: its snapshot after {start.records} records has another number of records"
            )
        return restored

    async def _plan(self, row: ExecutionRow, start: Start) -> Plan:
        ours = self.program.plan
        if start.definition != ours.definition.fingerprint:
            data = await self.store.definition(start.definition)
            return compile_plan(read_definition(data, start.definition, self.program.types))
        return await self._as_recorded(ours, row) if predates_declared_events(row) else ours

    async def _as_recorded(self, plan: Plan, row: ExecutionRow) -> Plan:
        """The plan with the external events of an execution that was recorded before these could be declared.

        They are taken from the definition in the store, since the code of today may name other ones. But a store holds
        only the first definition of a fingerprint, and a later version of the code may have named other events under
        the same fingerprint. So if the records contradict the stored definition, the external events of the code are
        added, and if they still do, every event that a chunk listens to is external.
        """
        definition = plan.definition.fingerprint
        data = await self.store.definition(definition)
        stored = plan.legacy_external
        if data is not None:
            stored = read_definition(data, definition, self.program.types).outside_events
        for external in (stored, stored | plan.legacy_external):
            found = plan.with_legacy_external(external)
            if len(external) == len(plan.events) or await self._agrees(found, row):
                return found
        return plan.with_legacy_external(frozenset(plan.events))

    async def _agrees(self, plan: Plan, row: ExecutionRow) -> bool:
        """Whether the records of an execution can be replayed under this plan, and end with the status of its row."""
        start = await self._latest(row)
        if start.definition != plan.definition.fingerprint:
            return True  # it was migrated later: a snapshot under the newer definition has the external events
        machine = self._begin_under(plan, row, start).machine
        try:
            async for step in self._replay(row, machine, row.records, {}, start):
                machine = step.machine
        except StoreDamaged:
            return False
        return (machine.state.status in FINAL) == (row.status in FINAL_STATUSES)


def _start(row: ExecutionRow, snapshot: tuple[int, str, bytes], definition: str) -> Start:
    """The start at a snapshot. Raises `StoreDamaged` if the snapshot has another definition than expected."""
    records, under, data = snapshot
    if under != definition:
        raise StoreDamaged(
            f"execution {row.id!r}: its snapshot after {records} records has definition {under!r}, not {definition!r}"
        )
    return Start(records, under, data, definition_before(data) is not None)
