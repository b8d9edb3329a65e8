"""Who waits for what its signals have caused: `settle=True`, and back-pressure on an emitter that is too fast.

The first signal a run emits gives that run a group; everything the signals start belongs to it, and what those emit
belongs to child groups, which count as one member while they are busy. Members are runs (a sub-flow's step is one, and
so is a run between two attempts), delayed signals, and lazy sources that are being asked for items. A question to the
outside is no member: `pause_for` has ended its chunk, and whoever settles may be the one who answers. A wait ends when
`live` has fallen to its level: 0 to settle, half the limit for back-pressure. The waiting run has given up its places,
so that what it waits for can run under any limit; it is told to go on once it has got them back.
"""

from collections.abc import Callable

from .limits import acquire, release, unqueue
from .state import RUNNING, WAITING, CompletionGroup, RecordedSignal, RunChunk, RunState, Wait


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
    """Note the signal of the current record for a later attempt of its emitter; forget those that are done with."""
    guesses = state.provisional or ()
    kept = {place: it for place, it in (run.kept or {}).items() if it.group.live or it.signal in guesses}
    kept[effect, (run.effects or {})[effect]] = RecordedSignal(state.records, group)
    run.kept = kept


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
            due = [wait for wait in group.waits if group.live <= wait.level]
            if due:
                group.waits = [wait for wait in group.waits if group.live > wait.level]
                for wait in due:
                    group.over = group.over or (wait.level == 0 and not wait.over)
                    ended(wait)
        if group.live or group.parent is None:
            return
        group = group.parent


def begin_wait(state: RunState, wait: Wait, group: CompletionGroup | None, resume: Callable[[RunChunk], None]) -> None:
    """Let a run wait, for a group or for something outside: its first wait gives its places to others."""
    if state.waits is None:
        state.waits = {}
    state.waits[wait.id] = wait
    if group is not None:
        group.waits.append(wait)
    run = wait.run
    if run is None:
        return
    run.waits += 1
    if run.phase is RUNNING:
        run.phase = WAITING
        release(run, resume)
    else:
        unqueue(run)  # it waits anew before it got its places back


def end_wait(state: RunState, wait: Wait) -> list[int]:
    """The numbers of the waits that may go on now.

    While a run waits more than once at a time (it emits from tasks of its own) it counts as waiting, so that its places
    can serve what it waits for; the last wait to end takes them back first, and may have to queue for them.
    """
    if state.waits is None or wait.id not in state.waits:  # who waited has ended, failed or left
        return []
    wait.over = True
    run = wait.run
    if run is not None:
        run.waits -= 1
    if run is None or run.waits:
        del state.waits[wait.id]
        return [wait.id]
    if not acquire(run, first=True):
        return []
    return regain(state, run)


def regain(state: RunState, run: RunChunk) -> list[int]:
    """A waiting run has its places again: the waits to tell."""
    run.phase = RUNNING
    waits = state.waits or {}
    told = [number for number, wait in waits.items() if wait.run is run]
    for number in told:
        del waits[number]
    return told


def end_waits_of(state: RunState, run: RunChunk) -> None:
    """The run has ended: nobody is left to tell."""
    if state.waits:
        for wait in [wait for wait in state.waits.values() if wait.run is run]:
            wait.over = True
            del state.waits[wait.id]
    if run.spawned is not None:
        run.spawned.over = True
        run.spawned.waits.clear()
        _shorten(run.spawned)
