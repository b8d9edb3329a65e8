"""Who waits for what its signals have caused: `settle=True`, and back-pressure on an emitter that is too fast.

The first signal a run emits gives that run a group; everything the signals start belongs to it, and what those emit
belongs to child groups, which count as one member while they are busy. Members are runs (a sub-flow's step is one, and
so is a run between two attempts), delayed signals, and lazy sources that are being asked for items. A question to the
outside is no member: `pause_for` has ended its chunk, and whoever settles may be the one who answers. A wait ends when
`live` has fallen to its level: 0 to settle, half the limit for back-pressure. The waiting run has given up its places,
so that what it waits for can run under any limit; it is told to go on once it has got them back.
"""

from collections.abc import Callable, Iterator

from .limits import acquire, release, unqueue
from .state import RUNNING, WAITING, CompletionGroup, KeptSignals, RecordedSignal, RunChunk, RunState, RunWaits, Wait


def handling(group: CompletionGroup | None) -> bool:
    """Whether this is the work of an error route."""
    while group is not None and not group.handling:
        group = group.parent
    return group is not None


def spawn_group(run: RunChunk) -> CompletionGroup:
    """The group of what this run emits."""
    group = run.spawned
    if group is None:
        group = run.spawned = CompletionGroup(_in_use(run.group))
    return group


def _shorten(group: CompletionGroup) -> None:
    """Hang a group on the first ancestor that somebody may still wait for.

    Without this, a loop in which each turn emits the next before it ends would keep every turn's group alive.
    """
    while group.parent is not None and group.parent.over:
        skipped, ancestor = group.parent, group.parent.parent
        if group.live:
            skipped.live -= 1
            if skipped.live and ancestor is not None:  # else this group takes its place among the ancestor's members
                enter_group(ancestor)
        group.parent = ancestor


def _in_use(group: CompletionGroup | None) -> CompletionGroup | None:
    while group is not None and group.over:
        group = group.parent
    return group


def keep(state: RunState, run: RunChunk, effect: str, group: CompletionGroup) -> None:
    """Note the signal of the current record for a later attempt of its emitter; now and then, forget those that are
    done with."""
    kept = run.kept
    if kept is None or len(kept.of_place) >= kept.limit:
        kept = run.kept = KeptSignals(dict(kept_signals(state, run)))
    it = RecordedSignal(state.records, group)
    kept.of_signal[it.signal] = kept.of_place[effect, (run.effects or {})[effect]] = it


def kept_signals(state: RunState, run: RunChunk) -> Iterator[tuple[tuple[str, int], RecordedSignal]]:
    """The signals that a later attempt of a run could still wait for, or take back, with their places."""
    for place, kept in run.kept.of_place.items() if run.kept else ():
        if _in_reach(state, kept):
            yield place, kept


def kept_at(state: RunState, run: RunChunk, effect: str, place: int) -> RecordedSignal | None:
    """The signal that an earlier attempt of a run has emitted at a place, if that can still be waited for, or taken
    back."""
    kept = run.kept.of_place.get((effect, place)) if run.kept else None
    return kept if kept is not None and _in_reach(state, kept) else None


def _in_reach(state: RunState, kept: RecordedSignal) -> bool:
    return kept.group.live > 0 or kept.signal in (state.provisional or ())


def enter_group(group: CompletionGroup) -> None:
    """One more member is busy."""
    group.live += 1
    while group.live == 1 and group.parent is not None:
        group = group.parent
        group.live += 1


def leave_group(group: CompletionGroup, ended: Callable[[Wait], None]) -> None:
    """One member is done; `ended` is called for each wait that this ends."""
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
        # Nobody waits for it a second time; a provisional signal's stays, for what hangs below it can be taken back.
        if wait.level == 0 and (group.provisional is None or group.provisional.group is not group):
            group.over = True
        ended(wait)


def begin_wait(state: RunState, wait: Wait, group: CompletionGroup | None, resume: Callable[[RunChunk], None]) -> None:
    """Let a run wait, for a group or for something outside: its first wait gives its places to others."""
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
        unqueue(run)  # it waits anew before it got its places back


def _forget_wait(wait: Wait) -> None:
    """The group of a wait has nobody to tell any more."""
    group, wait.group = wait.group, None
    if group is not None and group.waits is not None and wait.level in group.waits:
        group.waits[wait.level].pop(wait.id, None)
        if not group.waits[wait.level]:
            del group.waits[wait.level]


def end_wait(state: RunState, wait: Wait) -> list[int]:
    """The numbers of the waits that may go on now.

    While a run waits more than once at a time (it emits from tasks of its own) it counts as waiting, so that its places
    can serve what it waits for; the last wait to end takes them back first, and may have to queue for them.
    """
    if wait.over or state.waits is None or wait.id not in state.waits:  # who waited has ended, failed or left
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
    """A waiting run has its places again: the waits to tell."""
    run.phase = RUNNING
    told = [] if run.waits is None else list(run.waits.all)
    run.waits = None
    for number in told:
        if state.waits is not None:
            del state.waits[number]
    return told


def give_up_runs(state: RunState) -> None:
    """The execution is closing, and does not wait for its runs any longer."""
    for run in (*state.runs.values(), *(state.retracted or {}).values()):
        run.waits = None
    state.runs.clear()
    state.retracted = state.waits = None


def end_waits_of(state: RunState, run: RunChunk) -> None:
    """The run has ended: nobody is left to tell."""
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
