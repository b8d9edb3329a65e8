"""Completion groups and waits: `settle=True`, and back-pressure on an emitter that is too fast.

The first signal of a run makes a completion group for that run. Everything that its signals start is a member of the
group. What the members emit belongs to child groups. A busy child group counts as one member. Members are runs (also
the step of a sub-flow, and a run between two attempts), delayed signals, and lazy sources with an open pull. An
interrupt is not a member: `pause_for` has ended its chunk, and the waiting emitter may be the one that answers.

A wait ends when `live` has fallen to its level: 0 for `settle`, half the limit for back-pressure. A waiting run returns
its permits, so that its members can run under any limit. It is woken when it has its permits again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .limits import acquire, release, unqueue
from .state import (
    RUNNING,
    WAITING,
    CompletionGroup,
    Provisional,
    RecordedSignal,
    RecordedSignals,
    RunChunk,
    RunState,
    RunWaits,
    Wait,
)


def handling(group: CompletionGroup | None) -> bool:
    """Whether this group, or one around it, belongs to an error route."""
    while group is not None and group.handling is None:
        group = group.parent
    return group is not None


def handled_by(group: CompletionGroup | None, route: str) -> bool:
    """Whether this group, or one around it, belongs to this error route (the id of its operator)."""
    while group is not None and group.handling != route and group.handling != "":
        group = group.parent
    return group is not None


def spawn_group(run: RunChunk) -> CompletionGroup:
    """Return the completion group for what this run emits; make it on first use."""
    group = run.spawned
    if group is None:
        parent = run.group
        if parent is not None and parent.over:
            parent = _first_in_use(parent)
        group = run.spawned = CompletionGroup(parent)
    return group


def _shorten(group: CompletionGroup) -> None:
    """Move a group below the first ancestor that a run may still wait for.

    Without this, a loop of chunks, each of which emits the signal for the next one and ends, would keep all groups.
    """
    while group.parent is not None and group.parent.over:
        skipped, ancestor = group.parent, group.parent.parent
        if group.live:
            skipped.live -= 1
            # `ancestor` counts `skipped` as one busy child. If `skipped` is idle now, that count stands for this group
            # instead. If `skipped` is still busy, `ancestor` counts this group as one more.
            if skipped.live and ancestor is not None:
                enter_group(ancestor)
        group.parent = ancestor


def _first_in_use(group: CompletionGroup | None) -> CompletionGroup | None:
    while group is not None and group.over:
        group = group.parent
    return group


def record_signal(state: RunState, run: RunChunk, effect: str, group: CompletionGroup) -> None:
    """Record the signal of the current record for a later attempt of its emitter.

    When the table is full, the signals that no attempt can use any more are dropped."""
    known = run.recorded_signals
    if known is None or len(known.by_effect) >= known.limit:
        known = run.recorded_signals = RecordedSignals(dict(usable_signals(state, run)))
    place = (effect, (run.effects or {})[effect])
    if isinstance(group, Provisional):
        it, group.place = group, place
    else:
        it = RecordedSignal(state.records, group, place)
    known.by_signal[it.signal] = known.by_effect[it.place] = it


def usable_signals(state: RunState, run: RunChunk) -> Iterator[tuple[tuple[str, int], RecordedSignal | Provisional]]:
    """Yield the signals that a later attempt of a run can still wait for or retract, with (effect, count) of each."""
    for count, recorded in run.recorded_signals.by_effect.items() if run.recorded_signals else ():
        if _is_usable(state, recorded):
            yield count, recorded


def earlier_signal(state: RunState, run: RunChunk, effect: str, count: int) -> RecordedSignal | Provisional | None:
    """Return the signal that an earlier attempt emitted as the `count`-th effect of this name.

    None if there is no such signal, or if it can neither be waited for nor retracted any more."""
    recorded = run.recorded_signals.by_effect.get((effect, count)) if run.recorded_signals else None
    return recorded if recorded is not None and _is_usable(state, recorded) else None


def _is_usable(state: RunState, recorded: RecordedSignal | Provisional) -> bool:
    return recorded.group.live > 0 or recorded.signal in (state.provisional or ())


def enter_group(group: CompletionGroup) -> None:
    """Count one more busy member."""
    group.live += 1
    while group.live == 1 and group.parent is not None:
        group = group.parent
        group.live += 1


def leave_group(group: CompletionGroup, ended: Callable[[Wait], None]) -> None:
    """Count one busy member less. `ended` is called for each wait that ends with it."""
    while True:
        group.live -= 1
        if group.waits:
            _end_due(group, ended)
        if group.live or group.parent is None:
            return
        group = group.parent


def _end_due(group: CompletionGroup, ended: Callable[[Wait], None]) -> None:
    waits = group.waits or {}
    levels = [level for level in waits if group.live <= level]
    for wait in [wait for level in levels for wait in waits.pop(level).values()]:
        wait.group = None
        # No run waits for a settled group twice. The group of a provisional signal stays: it can still be retracted.
        if wait.level == 0 and not isinstance(group, Provisional):
            group.over = True
        ended(wait)


def begin_wait(state: RunState, wait: Wait, group: CompletionGroup | None, resume: Callable[[RunChunk], None]) -> None:
    """Suspend a run until its group has few enough members, or an external wait ends. Its first wait returns its
    permits."""
    if state.waits is None:
        state.waits = {}
    state.waits[wait.id] = wait
    if group is not None:
        wait.group = group
        if group.waits is None:
            group.waits = {}
        group.waits.setdefault(wait.level, {})[wait.id] = wait
    run = wait.run
    if run is None:
        return
    if run.waits is None:
        run.waits = RunWaits()
    run.waits.active += 1
    run.waits.all[wait.id] = wait
    if run.phase is RUNNING:
        run.phase = WAITING
        release(run, resume)
    elif run.waits.active == 1:
        unqueue(run)  # the run begins another wait while it queues for its permits


def _forget_wait(wait: Wait) -> None:
    """Remove a wait from its group."""
    group, wait.group = wait.group, None
    if group is not None and group.waits is not None and wait.level in group.waits:
        group.waits[wait.level].pop(wait.id, None)
        if not group.waits[wait.level]:
            del group.waits[wait.level]


def end_wait(state: RunState, wait: Wait) -> list[int]:
    """End a wait, and return the numbers of the waits to wake now.

    A run can have several waits at once, if it emits from tasks of its own. It is suspended while at least one is
    active, so that its members can use its permits. The last wait to end takes the permits back, and may queue for
    them: then the result is empty, and `regain` returns the number later.
    """
    if wait.over or state.waits is None or wait.id not in state.waits:  # it has ended before, or its run has ended
        return []
    wait.over = True
    _forget_wait(wait)
    run = wait.run
    if run is None or run.waits is None:
        del state.waits[wait.id]
        return [wait.id]
    run.waits.active -= 1
    if run.waits.active:
        del state.waits[wait.id], run.waits.all[wait.id]
        return [wait.id]
    if not acquire(run, first=True):
        return []
    return regain(state, run)


def regain(state: RunState, run: RunChunk) -> list[int]:
    """Resume a suspended run that has its permits again. Returns the numbers of the waits to wake."""
    run.phase = RUNNING
    woken = [] if run.waits is None else list(run.waits.all)
    run.waits = None
    for number in woken:
        if state.waits is not None:
            del state.waits[number]
    return woken


def give_up_runs(state: RunState) -> None:
    """Drop all runs of an execution that is closing: it does not wait for their clean-up any longer."""
    for run in (*state.runs.values(), *(state.retracted or {}).values()):
        run.waits = None
    state.runs.clear()
    state.retracted = state.waits = None


def end_waits_of(state: RunState, run: RunChunk) -> None:
    """Drop the waits of a run that has ended, and mark its group as over."""
    if run.waits is not None:
        for number, wait in run.waits.all.items():
            wait.over = True
            _forget_wait(wait)
            if state.waits is not None:
                state.waits.pop(number, None)
        run.waits = None
    if run.spawned is not None:
        run.spawned.over = True
        run.spawned.waits = None
        _shorten(run.spawned)
