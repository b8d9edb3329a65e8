"""What a store keeps of a schedule, and what a look at it decides: which ticks start an execution now.

`look` is a function of this state and the time, and changes nothing. Whoever looks stores the new state and the new
executions in one transaction, which fails if another process was faster. So each tick is started once, by any number of
workers, and whenever one of them dies.
"""

import math
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from ..._core.errors import StoreDamaged, without_values
from ...stores.protocol import ScheduleRow
from ..format.payloads import UNREADABLE
from .ticks import Cron, Interval, Ticks, in_utc

Overlap = Literal["skip", "queue", "cancel_running", "allow"]
Missed = Literal["skip", "latest", "all"]
OVERLAP: tuple[Overlap, ...] = get_args(Overlap)
MISSED: tuple[Missed, ...] = get_args(Missed)

#: With `missed="skip"`, a tick is missed if it is this many seconds late.
ON_TIME = 60.0
#: How many ticks one transaction starts at most, and how many wait at most with `overlap="queue"`.
BATCH, QUEUE = 100, 1000
#: How far to look back for the newest tick, in seconds, so that it takes no walk through a year of minutes.
_LOOK_BACK = (3600.0, 86400.0, 32 * 86400.0, 366 * 86400.0)


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """What is started and when, and how far it has come. Times are seconds since the epoch."""

    cron: str | None = None
    zone: str = "UTC"
    every: float | None = None
    anchor: float = 0.0
    #: the start value, packed by `Types.pack`
    value: Any = None
    overlap: Overlap = "skip"
    missed: Missed = "latest"
    #: how many seconds late a tick may start; None for any
    window: float | None = None
    jitter: float = 0.0
    since: float | None = None
    until: float | None = None
    limit: int | None = None
    labels: dict[str, str] = {}
    paused: bool = False

    #: the ticks up to this moment were dealt with
    seen: float
    #: the ticks that wait until no execution of the schedule is running
    queue: tuple[float, ...] = ()
    #: the executions that it has started and that had not ended when somebody looked
    running: tuple[str, ...] = ()
    #: how many ticks have started an execution, and how many were skipped because one was running
    started: int = 0
    skipped: int = 0
    #: the newest execution, and why the newest tick could not start one
    latest: str | None = None
    error: str | None = None

    def ticks(self) -> Ticks:
        """The ticks by cron expression or interval, without regard to `since`, `until` and `limit`."""
        if self.cron is not None:
            return Cron(self.cron, self.zone)
        return Interval(self.every or math.inf, self.anchor)

    def next_ticks(self) -> Iterator[float]:
        """The ticks that were not dealt with yet."""
        seen = self.seen if self.since is None else max(self.seen, self.since - 1e-6)
        for tick in self.ticks().after(seen):
            if self.until is not None and tick > self.until:
                return
            yield tick

    @property
    def left(self) -> float:
        """How many more ticks may start an execution."""
        return math.inf if self.limit is None else self.limit - self.started - len(self.queue)


class Look(NamedTuple):
    """What a look at a schedule has decided: the ticks to start now, the new state, and when to look again."""

    state: ScheduleState
    starts: list[float]
    due: float | None
    #: whether running executions are to be cancelled, so that the next tick can start
    cancels: bool


def execution_id(schedule: str, tick: float) -> str:
    """The id of the execution that a tick starts, such as "nightly@2026-03-29T01:00:00Z"."""
    return f"{schedule}@{in_utc(tick)}"


def delayed(id: str, state: ScheduleState, tick: float) -> float:
    """When a tick is due: up to `jitter` seconds later, by an offset that all processes agree on."""
    if not state.jitter:
        return tick
    drawn = int.from_bytes(sha256(execution_id(id, tick).encode()).digest()[:7])
    return tick + state.jitter * drawn / 2**56


def look(id: str, state: ScheduleState, now: float) -> Look:
    """Decide which ticks start now. `state.running` must not name executions that have ended."""
    if state.paused:
        return Look(state, [], None, False)
    seen, ticks = _due_ticks(id, state, now)
    starts: list[float] = []
    queue, skipped, left = list(state.queue), state.skipped, state.left
    for tick in ticks:
        if left <= 0:
            break
        if state.overlap == "allow":
            starts.append(tick)
            left -= 1
        elif (state.overlap == "skip" and (state.running or starts)) or len(queue) >= QUEUE:
            skipped += 1
        else:
            if state.overlap == "cancel_running":
                skipped, left, queue = skipped + len(queue), left + len(queue), []
            queue.append(tick)
            left -= 1
            if state.overlap == "skip":  # nothing is running: it starts now
                starts.append(queue.pop())
    if queue and not state.running and not starts:
        starts.append(queue.pop(0))
    state = msgspec.structs.replace(
        state, seen=seen, queue=tuple(queue), skipped=skipped, started=state.started + len(starts)
    )
    cancels = state.overlap == "cancel_running" and bool(queue) and bool(state.running)
    return Look(state, starts, due_time(id, state), cancels)


def due_time(id: str, state: ScheduleState) -> float | None:
    """When somebody has to look at a schedule next; None if never."""
    if state.paused:
        return None
    if state.queue:
        return state.queue[0]
    following = next(state.next_ticks(), None) if state.left > 0 else None
    return None if following is None else delayed(id, state, following)


def _due_ticks(id: str, state: ScheduleState, now: float) -> tuple[float, list[float]]:
    """Up to which moment ticks are dealt with now, and those among them that are due and not too late."""
    window = math.inf if state.window is None else state.window
    if state.missed == "skip":
        window = min(window, ON_TIME)
    # A second earlier: a tick at the very edge of the window still starts, and the loop drops those that are too late.
    seen = max(state.seen, now - window - state.jitter - 1)
    if state.missed != "all":
        seen = _before_newest(state, seen, now)
    found: list[float] = []
    for tick in msgspec.structs.replace(state, seen=seen).next_ticks():
        due = delayed(id, state, tick)
        if due > now or len(found) == BATCH:
            break
        seen = tick
        if now <= due + window:
            found = [*found, tick] if state.missed == "all" else [tick]
    return seen, found


def _before_newest(state: ScheduleState, seen: float, now: float) -> float:
    """A moment shortly before the newest tick that is due; or `seen`."""
    for back in _LOOK_BACK:
        begin = now - state.jitter - back
        if begin <= seen:
            break
        tick = next(msgspec.structs.replace(state, seen=begin).next_ticks(), None)
        if tick is not None and tick + state.jitter <= now:
            return begin
    return seen


_decoder = msgspec.json.Decoder(ScheduleState)


def read_state(row: ScheduleRow) -> ScheduleState:
    """The state in a row of the store. Raises `StoreDamaged` if it cannot be read."""
    try:
        return _decoder.decode(row.data)
    except UNREADABLE as error:
        raise StoreDamaged(f"the stored schedule {row.id!r} cannot be read: {without_values(error)}") from None


def write_row(row: ScheduleRow, state: ScheduleState, due: float | None, version: str) -> ScheduleRow:
    """The row with another state."""
    return msgspec.structs.replace(row, data=msgspec.json.encode(state), due=due, version=version)
