"""Provisional signals: started early, and taken back if what they stand for turns out not to be so.

A provisional signal has a group of its own, so that everything it set in motion can be found: its runs are cancelled,
its openings dropped, and what its runs still write in their clean-up is recorded but starts nothing."""

from . import commands
from .groups import leave_group
from .operators import Effects
from .state import RUNNING, WAITING, Group, Limiter, RunChunk, Wait
from .timers import cancel_timer


def note_provisional(machine: Effects, number: int, group: Group | None) -> Group:
    """The group of a provisional signal."""
    state = machine.state
    if state.provisional is None:
        state.provisional = {}
    made = state.provisional[number] = Group(group)
    return made


def confirm(machine: Effects, number: int) -> None:
    """The signal stands; nobody asks for its group any more."""
    group = (machine.state.provisional or {}).pop(number, None)
    if group is not None:
        group.over = True


def retract(machine: Effects, number: int) -> None:
    """Cancel everything that the signal has set in motion. A signal that was confirmed, or never was, has none."""
    state = machine.state
    group = (state.provisional or {}).pop(number, None)
    if group is None:
        return
    for opening in [it for it in (state.openings or {}).values() if _within(it.group, group)]:
        if state.openings is not None:
            del state.openings[opening.id]
        if opening.pulling:
            state.pulls -= 1
    for run in [it for it in state.runs.values() if _within(it.group, group)]:
        del state.runs[run.id]
        if run.phase is RUNNING or run.phase is WAITING:
            if state.retracted is None:
                state.retracted = {}
            state.retracted[run.id] = run
            machine.out.append(commands.CancelRun(run))
        else:
            _forget(machine, run)
    machine.out[:] = [it for it in machine.out if not (isinstance(it, RunChunk) and it.id not in state.runs)]


def _forget(machine: Effects, run: RunChunk) -> None:
    """A run that holds no place: it waits for one, or for its next attempt."""
    for limiter in run.limiters:
        _unqueue(limiter, run)
    for timer in list((machine.state.timers or {}).values()):
        if timer.run == run.id:
            cancel_timer(machine, timer.id)
    if run.group is not None:
        leave_group(run.group, _nobody)


def _unqueue(limiter: Limiter, run: RunChunk) -> None:
    if run in limiter.queue:
        limiter.queue.remove(run)


def _nobody(wait: Wait) -> None:
    """Waits inside a retracted branch end with the runs that wait."""


def _within(group: Group | None, ancestor: Group) -> bool:
    while group is not None and group is not ancestor:
        group = group.parent
    return group is not None
