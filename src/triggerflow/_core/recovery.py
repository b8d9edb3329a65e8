"""Going on in another process: what was running is run again, under the same id and with the next attempt number."""

from collections.abc import Callable
from typing import Any

from . import commands
from .closing import stays_open
from .groups import end_waits_of, give_up_runs, leave_group
from .leases import dismiss
from .limits import acquire, release, unqueue
from .operators import Effects
from .provisional import drop_member
from .state import READY, RUNNING, WAITING, RunState, Status


def recover(machine: Effects, resumed: Callable[[Any], None]) -> None:
    """Issue again what was commanded and is not finished.

    Places that were taken stay taken, but for those between a sub-flow and its parent: both forget them and the
    sub-flow asks again, so that neither counts on what the other may not have recorded. A run that waited for its
    signals has lost that wait with its process. Whoever lost its places has to get them back like one that starts, but
    before those. `resumed` is called for everyone who got a place which was given back.
    """
    state = machine.state
    begun = [run for run in state.runs.values() if run.phase is RUNNING or run.phase is WAITING]
    displaced = [run for run in begun if run.phase is WAITING or state.lease is not None]
    for run in begun:
        run.attempt += 1
        if run.phase is WAITING:
            end_waits_of(state, run)
            unqueue(run)
            run.spawned = None
    dismiss(machine, None, resumed)
    for run in (state.retracted or {}).values():  # it has stopped with its process
        end_waits_of(state, run)
        if run.phase is RUNNING:
            release(run, resumed)
        if run.group is not None:
            drop_member(state, run.group, run.id)
            leave_group(run.group, lambda wait: None)
    state.retracted = None
    for run in displaced:
        if run.phase is RUNNING:
            release(run, resumed)
        run.phase = READY
    for run in reversed(displaced):
        if acquire(run, first=True):
            run.phase = RUNNING
    if state.lease is not None:
        state.lease.held = state.lease.limit = state.lease.used
        state.lease.asked = 0
    if state.closing is not None:  # what still had to stop has stopped
        give_up_runs(state)
        begun = []
    machine.out.extend(run for run in begun if run.phase is RUNNING)
    machine.out.extend(_due_again(state))


def outstanding(machine: Effects) -> list[commands.AnyCommand] | None:
    """The commands to issue again after a load; None if a record has to tell of it (`Recovered`), because chunks were
    running and run again, or because nothing can wake it any more under the definition that it was moved to."""
    state = machine.state
    over = state.status is Status.WAITING and state.idle() and not stays_open(machine)
    return None if over or _at_work(state) else _due_again(state)


def _due_again(state: RunState) -> list[commands.AnyCommand]:
    """What was commanded, is not finished, and leaves no trace in the state when it is issued again."""
    timers = [commands.StartTimer(timer.id, timer.due) for timer in (state.timers or {}).values()]
    pulls = [commands.Pull(opening, 1) for opening in (state.openings or {}).values() if opening.pulling]
    checks = [] if state.unchecked is None else [commands.CheckResult(*state.unchecked)]
    return [*timers, *pulls, *checks]


def _at_work(state: RunState) -> bool:
    """Whether something had begun, so that `recover` would change the state: an attempt is counted, a place is lost."""
    if state.closing is not None or state.retracted or state.steps:
        return True
    if state.lease is not None and (state.lease.held or state.lease.asked):
        return True
    return not state.idle() and any(run.phase is RUNNING or run.phase is WAITING for run in state.runs.values())
