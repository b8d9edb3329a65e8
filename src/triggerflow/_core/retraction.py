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
from .provisional import decided, drop_member, leave_emitter, members
from .state import RUNNING, WAITING, BlockInstance, Interrupt, RunChunk, Timer, Wait
from .timers import cancel_timer


def confirm(machine: Effects, number: int) -> None:
    """The signal stands; nobody asks for its group any more."""
    provisional = decided(machine.state, number)
    if provisional is not None:
        provisional.group.over = True


def retract(machine: Effects, number: int, ended: Callable[[Wait], None]) -> None:
    """Cancel everything that the signal has set in motion. A signal that was confirmed, or never was, has none.

    `ended` is called for waits that end thereby, outside what is retracted.
    """
    provisional = decided(machine.state, number)
    if provisional is None:
        return
    found = members(provisional)
    for opening in sorted((it for it in found if isinstance(it, BlockInstance)), key=lambda it: it.id):
        _drop_opening(machine, opening, ended)
    for run in sorted((it for it in found if isinstance(it, RunChunk)), key=lambda it: it.id):
        _stop(machine, run, ended)
    for timer in sorted((it for it in found if isinstance(it, Timer)), key=lambda it: it.id):
        cancel_timer(machine, timer.id)
        if timer.group is not None:
            drop_member(machine.state, timer.group, timer.id)
            leave_group(timer.group, ended)
    for interrupt in sorted((it for it in found if isinstance(it, Interrupt)), key=lambda it: (it.run.id, it.id)):
        close(machine, interrupt, "retracted")
    runs = machine.state.runs
    machine.out[:] = [it for it in machine.out if not (isinstance(it, RunChunk) and it.id not in runs)]


def _drop_opening(machine: Effects, opening: BlockInstance, ended: Callable[[Wait], None]) -> None:
    drop_scope(machine.state, opening)
    if stop_pulling(machine, opening) and opening.group is not None:
        leave_group(opening.group, ended)


def _stop(machine: Effects, run: RunChunk, ended: Callable[[Wait], None]) -> None:
    """Cancel a run that has begun; one that waits for a place, or for its next attempt, is forgotten."""
    state = machine.state
    del state.runs[run.id]
    leave_emitter(state, run)
    if run.group is not None:
        drop_member(state, run.group, run.id)
    if run.phase is RUNNING or run.phase is WAITING:
        if state.retracted is None:
            state.retracted = {}
        state.retracted[run.id] = run
        machine.out.append(commands.CancelRun(run))
        return
    unqueue(run)
    cancel_timer(machine, (state.retries or {}).pop(run.id, None))
    if run.group is not None:
        leave_group(run.group, ended)
