"""Provisional signals: started early, and taken back if what they stand for turns out not to be so.

A provisional signal has a group of its own, so that everything it set in motion can be found: its runs are cancelled,
its openings dropped, and what its runs still write in their clean-up is recorded but starts nothing."""

from collections.abc import Callable

from . import commands
from .groups import leave_group
from .interrupts import close
from .joins import drop_scope
from .limits import unqueue
from .operators import Effects, stop_pulling
from .state import KEPT, RUNNING, WAITING, CompletionGroup, RunChunk, RunState, Wait
from .timers import cancel_timer


def note_provisional(machine: Effects, number: int, group: CompletionGroup | None) -> CompletionGroup:
    """The group of a provisional signal."""
    state = machine.state
    if state.provisional is None:
        state.provisional = {}
    count = len(state.provisional)
    if count >= KEPT and not count & (count - 1):  # a power of two: seldom enough to look at all of them
        _forget_undecided(state, state.provisional)
    made = state.provisional[number] = CompletionGroup(group)
    return made


def _forget_undecided(state: RunState, provisional: dict[int, CompletionGroup]) -> None:
    """Forget signals that nobody has decided on, where nothing is left to take back: what they started is over, and so
    is the run that emitted them, which could come back to them."""
    emitted = {kept.signal for run in state.runs.values() for kept in (run.kept or {}).values()}
    asking = [it.run.group for it in (state.interrupts or {}).values() if it.status == "waiting"]
    used = [*asking, *(opening.group for opening in (state.openings or {}).values())]
    for number, group in list(provisional.items()):
        if number not in emitted and not group.live and not any(_within(it, group) for it in used):
            del provisional[number]


def confirm(machine: Effects, number: int) -> None:
    """The signal stands; nobody asks for its group any more."""
    group = (machine.state.provisional or {}).pop(number, None)
    if group is not None:
        group.over = True


def retract(machine: Effects, number: int, ended: Callable[[Wait], None]) -> None:
    """Cancel everything that the signal has set in motion. A signal that was confirmed, or never was, has none.

    `ended` is called for waits that end thereby, outside what is retracted.
    """
    state = machine.state
    group = (state.provisional or {}).pop(number, None)
    if group is None:
        return
    for opening in [it for it in (state.openings or {}).values() if _within(it.group, group)]:
        drop_scope(state, opening)
        if stop_pulling(machine, opening) and opening.group is not None:
            leave_group(opening.group, ended)
    for run in [it for it in state.runs.values() if _within(it.group, group)]:
        del state.runs[run.id]
        if run.phase is RUNNING or run.phase is WAITING:
            if state.retracted is None:
                state.retracted = {}
            state.retracted[run.id] = run
            machine.out.append(commands.CancelRun(run))
        else:
            _forget(machine, run, ended)
    for timer in [it for it in (state.timers or {}).values() if _within(it.group, group)]:
        cancel_timer(machine, timer.id)
        if timer.group is not None:
            leave_group(timer.group, ended)
    for interrupt in (state.interrupts or {}).values():
        if interrupt.status == "waiting" and _within(interrupt.run.group, group):
            close(machine, interrupt, "retracted")
    machine.out[:] = [it for it in machine.out if not (isinstance(it, RunChunk) and it.id not in state.runs)]


def _forget(machine: Effects, run: RunChunk, ended: Callable[[Wait], None]) -> None:
    """A run that holds no place: it waits for one, or for its next attempt."""
    unqueue(run)
    for timer in list((machine.state.timers or {}).values()):
        if timer.run == run.id:
            cancel_timer(machine, timer.id)
    if run.group is not None:
        leave_group(run.group, ended)


def _within(group: CompletionGroup | None, ancestor: CompletionGroup) -> bool:
    while group is not None and group is not ancestor:
        group = group.parent
    return group is not None
