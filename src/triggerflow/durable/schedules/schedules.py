"""`Schedules`: executions of a flow that workers start at given times. Made by `flow.schedules(store)`.

A schedule is a row in the store. Any process can put, change, pause or delete it; every worker of its flow starts what
is due (`scheduling`).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Any, Never, TypeVar

import msgspec

from ..._core.errors import (
    DefinitionError,
    OptionError,
    PayloadError,
    StoreConflict,
    StoreDamaged,
    UnknownSchedule,
    UsageError,
)
from ..._core.state import UNSET
from ...build.arguments import check_names, closest, flag, seconds, text, whole
from ...run.flow_runtime import FlowRuntime
from ...run.portal import sync_method
from ...stores.protocol import FINAL_STATUSES, UNFINISHED_STATUSES, ScheduleRow, Store
from ..executions.submission import submission_of
from .schedule_state import MISSED, OVERLAP, Missed, Overlap, ScheduleState, due_time, read_state, write_row
from .ticks import Cron, in_seconds, time_zone

T = TypeVar("T")

#: The longest data of a schedule, in bytes: each look at it reads all of it.
MAX_DATA = 1024 * 1024
#: After so many executions a schedule finds out which of those that it knows to be running have ended, also where that
#: decides nothing: the list of them is stored with it.
MANY_RUNNING = 100
#: How often a change is tried again when other processes change the same schedule.
_TRIES = 50

Moment = float | datetime
Seconds = float | timedelta

#: The options of a schedule.
OPTIONS = (
    "cron", "every", "zone", "anchor", "value", "overlap", "missed", "window", "jitter", "since", "until", "limit",
    "labels", "paused",
)  # fmt: skip


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it was when it was read. Times are datetimes in its zone, spans are seconds."""

    id: str
    flow: str
    cron: str | None
    every: float | None
    zone: str
    value: Any
    overlap: Overlap
    missed: Missed
    window: float | None
    jitter: float
    since: datetime | None
    until: datetime | None
    limit: int | None
    labels: dict[str, str]
    paused: bool
    #: when the next tick is due, with its jitter, or has been due since; None if it is paused or has no more ticks
    due: datetime | None
    #: how many ticks have started an execution, were skipped because one was running, and wait until none is
    started: int
    skipped: int
    waiting: int
    #: the ids of the newest execution, and of those that had not ended when a worker looked last
    latest: str | None
    running: tuple[str, ...]
    #: why the newest tick could start no execution; None if it could
    error: str | None
    #: the next ticks, without jitter: up to ten
    next: tuple[datetime, ...]


class Schedules:
    """The schedules of one flow in one store. Made by `flow.schedules(store)`.

    Every method raises `StoreError` if the store fails. Those that take an id raise `UnknownSchedule` if there is none
    with it, and `UsageError` if it belongs to another flow.
    """

    def __init__(self, flow: FlowRuntime, store: Store) -> None:
        flow.require_name()
        self._flow, self._store = flow, store

    @property
    def sync(self) -> "SyncSchedules":
        """The same methods for scripts, without `await`."""
        return SyncSchedules(self)

    async def put(
        self,
        id: str,
        *,
        cron: str | None = None,
        every: Seconds | None = None,
        zone: str = "UTC",
        anchor: Moment | None = None,
        value: Any = None,
        overlap: Overlap = "skip",
        missed: Missed = "latest",
        window: Seconds | None = None,
        jitter: Seconds = 0,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        labels: Mapping[str, str] | None = None,
        paused: bool | None = None,
        **unknown: Never,
    ) -> Schedule:
        """Store a schedule. If the id is known, its options are replaced; see `TriggerFlow.async_schedule`."""
        where = self._where(id)
        check_names(unknown, OPTIONS, where)
        now = self._flow.environment.now()
        state = ScheduleState(
            cron=cron,
            every=None if every is None else _span(every, where, "every", above=True),
            zone=zone,
            anchor=float(int(now)) if anchor is None else in_seconds(anchor, where, "anchor"),
            value=self._packed(value, where),
            overlap=_one_of(overlap, OVERLAP, where, "overlap"),
            missed=_one_of(missed, MISSED, where, "missed"),
            window=None if window is None else _span(window, where, "window"),
            jitter=_span(jitter, where, "jitter"),
            since=None if since is None else in_seconds(since, where, "since"),
            until=None if until is None else in_seconds(until, where, "until"),
            limit=None if limit is None else whole(limit, where, "limit", 1),
            labels=_labels(labels, where),
            paused=paused is not None and flag(paused, where, "paused"),
            seen=now,
        )
        _check_times(state, where)

        def put(before: ScheduleState | None) -> ScheduleState:
            return state if before is None else _continued(state, before, keeps_anchor=anchor is None, paused=paused)

        return await self._change(id, put, is_new=True)

    async def change(self, id: str, **options: Any) -> Schedule:
        """Change some options of a schedule, and keep the others. The options are those of `put`."""
        where = self._where(id)
        check_names(options, OPTIONS, where)
        row = await self._row(id)
        state = read_state(row)
        kept: dict[str, Any] = {
            name: getattr(state, name)
            for name in ("cron", "every", "zone", "overlap", "missed", "window", "jitter", "since", "until", "limit")
        }
        kept |= {"labels": state.labels, "value": self._flow.types.unpack(state.value)}
        if options.get("cron") is not None:
            kept["every"] = None
        if options.get("every") is not None:
            kept["cron"] = None
        return await self.put(id, **kept | options)

    async def get(self, id: str) -> Schedule:
        """Read a schedule."""
        return self._view(await self._row(id))

    async def list(self) -> list[Schedule]:
        """All schedules of this flow, in the order of their ids."""
        found: list[Schedule] = []
        after: str | None = None
        while page := await self._store.schedules(flow=self._flow.name, after=after):
            found += [self._view(row) for row in page]
            after = page[-1].id
        return found

    async def pause(self, id: str) -> Schedule:
        """Start nothing from now on. What is running goes on; ticks that wait for its end are dropped."""
        return await self._change(id, lambda state: msgspec.structs.replace(_there(state), paused=True, queue=()))

    async def resume(self, id: str) -> Schedule:
        """Start what is due from now on again. The ticks of the pause are not made up for."""

        def resume(state: ScheduleState | None) -> ScheduleState:
            state = _there(state)
            if not state.paused:
                return state
            return msgspec.structs.replace(state, paused=False, seen=max(state.seen, self._flow.environment.now()))

        return await self._change(id, resume)

    async def trigger(self, id: str, *, value: Any = UNSET) -> str:
        """Start an execution now, whatever is running and also during a pause. Returns its id.

        It has the start value of the schedule, or `value`. It does not count for `limit`; the next tick counts it as
        running.
        """
        row = await self._row(id)
        now = self._flow.environment.now()
        name = f"{id}@now-{self._flow.environment.new_id()}"
        for _ in range(_TRIES):
            state = read_state(row)
            start = self._flow.types.unpack(state.value) if value is UNSET else value
            append = await submission_of(self._flow, self._store, name, start, now, labels_of(id, state, now))
            if state.running and not len(state.running) % MANY_RUNNING:  # perhaps no tick ever looks at them
                state = await without_ended(self._store, state)
            after = msgspec.structs.replace(state, running=(*state.running, name), latest=name)
            try:
                await self._store.put_schedule(
                    write_row(row, after, row.due, self._flow.environment.new_id()),
                    replaces=row.version,
                    starts=[append],
                )
            except StoreConflict:
                row = await self._row(id)
            else:
                return name
        raise _crowded(id)

    async def delete(self, id: str) -> None:
        """Delete a schedule. The executions that it has started remain, and go on."""
        await self._row(id)
        await self._store.delete_schedule(id)

    # -- helpers -----------------------------------------------------------------------------------------------------

    async def _change(
        self, id: str, change: Callable[[ScheduleState | None], ScheduleState], *, is_new: bool = False
    ) -> Schedule:
        """Store what `change` makes of the state of a schedule, also if workers change it meanwhile."""
        for _ in range(_TRIES):
            row = await self._find(id) if is_new else await self._row(id)
            before = None
            if row is not None:
                try:
                    before = read_state(row)
                except StoreDamaged:
                    if not is_new:
                        raise
            after = change(before)
            if row is not None and after == before:
                return self._view(row)
            if before is not None and before.overlap == "allow" != after.overlap:
                after = msgspec.structs.replace(after, running=await self._running(id))
            base = row or ScheduleRow(id=id, flow=self._flow.name, data=b"", version="")
            new = write_row(base, after, due_time(id, after), self._flow.environment.new_id())
            if len(new.data) > MAX_DATA:
                raise PayloadError(
                    f"{self._where(id)}: its start value and labels take {len(new.data)} bytes, and at most {MAX_DATA} "
                    "are stored; give the executions the place of the data instead"
                )
            try:
                await self._store.put_schedule(new, replaces=None if row is None else row.version)
            except StoreConflict:
                continue
            return self._view(new)
        raise _crowded(id)

    async def _running(self, id: str) -> tuple[str, ...]:
        """The executions of a schedule that have not ended, the oldest first; of very many the newest 1,000."""
        rows = await self._store.executions(
            flow=self._flow.name, status=UNFINISHED_STATUSES, labels={"schedule": id}, limit=1000
        )
        return tuple(row.id for row in reversed(rows))

    async def _find(self, id: str) -> ScheduleRow | None:
        row = await self._store.schedule(id)
        if row is not None and row.flow != self._flow.name:
            raise UsageError(
                f"schedule {id!r} belongs to flow {row.flow!r}, but this is flow {self._flow.name!r}; ids are unique "
                "in the store"
            )
        return row

    async def _row(self, id: str) -> ScheduleRow:
        row = await self._find(id)
        if row is None:
            raise UnknownSchedule(f"there is no schedule {id!r} of flow {self._flow.name!r} in {self._store!r}")
        return row

    def _where(self, id: Any) -> str:
        if not isinstance(id, str) or not 0 < len(id) <= 200:
            raise OptionError(f"flow {self._flow.name!r}: the id of a schedule is a string of 1 to 200 characters")
        return f"flow {self._flow.name!r}: schedule {id!r}"

    def _packed(self, value: Any, where: str) -> Any:
        contract = self._flow.program().contract.initial_input
        checked = value if contract is None else contract(value)
        return self._flow.types.pack(checked, f"{where}: its start value")

    def _view(self, row: ScheduleRow) -> Schedule:
        state = read_state(row)
        zone = time_zone(state.zone, f"schedule {row.id!r}")
        return Schedule(
            id=row.id,
            flow=row.flow,
            cron=state.cron,
            every=state.every,
            zone=state.zone,
            value=self._flow.types.unpack(state.value),
            overlap=state.overlap,
            missed=state.missed,
            window=state.window,
            jitter=state.jitter,
            since=_in_zone(state.since, zone),
            until=_in_zone(state.until, zone),
            limit=state.limit,
            labels=state.labels,
            paused=state.paused,
            due=_in_zone(row.due, zone),
            started=state.started,
            skipped=state.skipped,
            waiting=len(state.queue),
            latest=state.latest,
            running=state.running,
            error=state.error,
            next=tuple(datetime.fromtimestamp(tick, zone) for tick in islice(state.next_ticks(), _shown(state))),
        )


def labels_of(id: str, state: ScheduleState, tick: float) -> dict[str, str]:
    """The labels of an execution that a schedule starts: its own, the id of the schedule, and the time of the tick."""
    return {**state.labels, "schedule": id, "tick": datetime.fromtimestamp(tick, UTC).isoformat()}


async def without_ended(store: Store, state: ScheduleState) -> ScheduleState:
    """The state without the executions that have ended, or were deleted. Raises `StoreError`."""
    rows = [await store.find(id) for id in state.running]
    running = tuple(row.id for row in rows if row is not None and row.status not in FINAL_STATUSES)
    if state.overlap == "allow":  # nothing depends on the older ones, and each look would ask for all of them
        running = running[-MANY_RUNNING // 2 :]
    return state if running == state.running else msgspec.structs.replace(state, running=running)


def _shown(state: ScheduleState) -> int:
    return int(max(0, min(10, state.left)))


def _in_zone(moment: float | None, zone: tzinfo) -> datetime | None:
    return None if moment is None else datetime.fromtimestamp(moment, zone)


def _there(state: ScheduleState | None) -> ScheduleState:
    assert state is not None  # its row was found
    return state


def _crowded(id: str) -> StoreConflict:
    return StoreConflict(f"schedule {id!r} was changed by other processes {_TRIES} times in a row; try again")


def _continued(
    state: ScheduleState, before: ScheduleState, *, keeps_anchor: bool, paused: bool | None
) -> ScheduleState:
    """The new options of a schedule that is in the store: what it has done so far stays. Ticks of a time that was
    changed are counted from now on, and a pause goes on unless `paused` is given."""
    if keeps_anchor and state.every == before.every:
        state = msgspec.structs.replace(state, anchor=before.anchor)
    times = ("cron", "zone", "every", "anchor")
    same_times = all(getattr(state, name) == getattr(before, name) for name in times)
    is_paused = before.paused if paused is None else paused
    resumes = before.paused and not is_paused
    return msgspec.structs.replace(
        state,
        paused=is_paused,
        seen=before.seen if same_times and not resumes else max(state.seen, before.seen),
        queue=() if is_paused or state.overlap != before.overlap else before.queue,
        running=before.running,
        started=before.started,
        skipped=before.skipped,
        latest=before.latest,
        error=before.error,
    )


def _check_times(state: ScheduleState, where: str) -> None:
    if (state.cron is None) == (state.every is None):
        what = "either cron= or every=" if state.cron is None else "either cron= or every=, not both"
        raise OptionError(f"{where} needs {what}")
    cron: Any = state.cron
    if cron is not None:
        if not isinstance(cron, str):
            raise OptionError(f"{where}: cron must be a string such as '0 2 * * *', got {cron!r}")
        Cron(cron, state.zone, where).check()
    time_zone(state.zone, where)
    if state.every is not None and not 1 <= state.every <= 100 * 366 * 86400:
        raise DefinitionError(f"{where}: every must be a second or more, and a hundred years at most")


def _span(given: Any, where: str, name: str, *, above: bool = False) -> float:
    """A span in seconds; given as that, or as a timedelta."""
    number = given.total_seconds() if isinstance(given, timedelta) else given
    span = float(seconds(number, where, name, above=above))
    if span > 1e10:
        raise DefinitionError(f"{where}: {name}={given!r} is longer than three hundred years")
    return span


def _one_of(given: Any, known: tuple[T, ...], where: str, name: str) -> T:
    given = text(given)
    if given not in known:
        near = closest(given, [str(it) for it in known], 1) if isinstance(given, str) else []
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise OptionError(f"{where}: {name}={given!r} is not valid; {hint}there are: {', '.join(map(repr, known))}")
    return given


def _labels(given: Any, where: str) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise OptionError(f"{where}: labels must be a mapping of strings to strings")
    labels: dict[Any, Any] = {text(key): text(value) for key, value in given.items()}  # pyright: ignore
    if not all(isinstance(it, str) for pair in labels.items() for it in pair):
        raise OptionError(f"{where}: labels must be a mapping of strings to strings")
    if taken := sorted(labels.keys() & {"schedule", "tick"}):
        raise OptionError(f"{where}: the label {taken[0]!r} is set by the schedule; give yours another name")
    return labels


class SyncSchedules:
    """`Schedules` for a script that has opened its store with a plain `with`: `flow.schedules(store).sync`.

    Each method does what the method of the same name in `Schedules` does. Raises `BlockingCallError` inside a running
    event loop.
    """

    def __init__(self, schedules: Schedules) -> None:
        #: the async methods that this object calls
        self.schedules = schedules

    put = sync_method(Schedules.put, "schedules")
    change = sync_method(Schedules.change, "schedules")
    get = sync_method(Schedules.get, "schedules")
    list = sync_method(Schedules.list, "schedules")
    pause = sync_method(Schedules.pause, "schedules")
    resume = sync_method(Schedules.resume, "schedules")
    trigger = sync_method(Schedules.trigger, "schedules")
    delete = sync_method(Schedules.delete, "schedules")
