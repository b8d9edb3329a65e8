"""Confirm and retract provisional signals: signals that a chunk emits before it knows that they are right.

A provisional signal has its own completion group, through which everything that it started is found. A retraction
cancels its runs, timers and interrupts, drops its block instances, and takes back its results. What the cancelled runs
write during their clean-up is recorded, but starts nothing."""

from collections.abc import Callable

from . import commands
from .groups import leave_group
from .interrupts import close
from .joins import drop_scope, take_back_slots
from .limits import unqueue
from .operators import Effects, stop_pulling
from .provisional import decided, drop_member, leave_emitter, members
from .results import settle
from .state import RUNNING, WAITING, BlockInstance, Interrupt, RunChunk, Timer, Wait
from .timers import cancel_timer, leave_timer


def confirm(machine: Effects, number: int) -> None:
    """Confirm a provisional signal: it cannot be retracted any more. An unknown signal is ignored."""
    provisional = decided(machine.state, number)
    if provisional is not None:
        provisional.over = True
        settle(machine)


def retract(machine: Effects, number: int, ended: Callable[[Wait], None]) -> None:
    """Cancel everything that a provisional signal has started. An unknown or confirmed signal is ignored.

    `ended` is called for each wait outside of the retracted work that ends with it.
    """
    provisional = decided(machine.state, number)
    if provisional is None:
        return
    provisional.retracted = True
    _drop_early(machine, provisional.by, number)
    found = members(provisional)
    for instance in sorted((it for it in found if isinstance(it, BlockInstance)), key=lambda it: it.id):
        _drop_instance(machine, instance, ended)
    for run in sorted((it for it in found if isinstance(it, RunChunk)), key=lambda it: it.id):
        _stop(machine, run, ended)
    for timer in sorted((it for it in found if isinstance(it, Timer)), key=lambda it: it.id):
        cancel_timer(machine, timer.id)
        leave_timer(machine.state, timer, ended)
    for interrupt in sorted((it for it in found if isinstance(it, Interrupt)), key=lambda it: (it.run.id, it.id)):
        close(machine, interrupt, "retracted")
    take_back_slots(machine.state, provisional)
    settle(machine)
    runs = machine.state.runs
    machine.out[:] = [it for it in machine.out if not (isinstance(it, RunChunk) and it.id not in runs)]


def _drop_early(machine: Effects, run: int | None, signal: int | None = None) -> None:
    """Forget what a run gives to the for_each blocks behind it; with `signal`, only if that is its signal."""
    early = machine.state.early
    if early and run in early and signal in (None, early[run].signal):
        del early[run]


def _drop_instance(machine: Effects, instance: BlockInstance, ended: Callable[[Wait], None]) -> None:
    drop_scope(machine.state, instance)
    if stop_pulling(machine, instance) and instance.group is not None:
        leave_group(instance.group, ended)


def _stop(machine: Effects, run: RunChunk, ended: Callable[[Wait], None]) -> None:
    """Cancel a run that has begun; drop one that waits for permits or for its next attempt."""
    state = machine.state
    del state.runs[run.id]
    leave_emitter(state, run)
    _drop_early(machine, run.id)
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
