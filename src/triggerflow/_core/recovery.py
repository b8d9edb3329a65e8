"""Going on in another process: what was running is run again, under the same id and with the next attempt number."""

from collections.abc import Callable

from . import commands
from .groups import end_waits_of, leave_group
from .limits import acquire, release, unqueue
from .operators import Effects
from .state import READY, RUNNING, WAITING, RunChunk


def recover(machine: Effects, resumed: Callable[[RunChunk], None]) -> None:
    """Issue again what was commanded and is not finished.

    Places that were taken stay taken. A run that waited for its signals has lost that wait with its process, and has to
    get its places back like one that starts. `resumed` is called for runs that got a place which was given back.
    """
    state = machine.state
    for run in (state.retracted or {}).values():  # it has stopped with its process
        end_waits_of(state, run)
        if run.phase is RUNNING:
            release(run, resumed)
        if run.group is not None:
            leave_group(run.group, lambda wait: None)
    state.retracted = None
    if state.closing is not None:  # what still had to stop has stopped
        state.runs.clear()
        state.waits = None
    for run in list(state.runs.values()):
        if run.phase is WAITING:
            end_waits_of(state, run)
            unqueue(run)
            run.waits = 0
            run.attempt += 1
            run.phase = RUNNING if acquire(run, first=True) else READY
        elif run.phase is RUNNING:
            run.attempt += 1
        if run.phase is RUNNING:
            machine.out.append(run)
    for timer in (state.timers or {}).values():
        machine.out.append(commands.StartTimer(timer.id, timer.due))
    for opening in (state.openings or {}).values():
        if opening.pulling:
            machine.out.append(commands.Pull(opening, 1))
