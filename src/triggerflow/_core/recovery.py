"""Going on in another process: what was running is run again, under the same id and with the next attempt number."""

from . import commands
from .groups import end_waits_of
from .limits import acquire
from .operators import Effects
from .state import READY, RUNNING, WAITING


def recover(machine: Effects) -> None:
    """Issue again what was commanded and is not finished.

    Places that were taken stay taken. A run that waited for its signals has lost that wait with its process, and has to
    get its places back like one that starts.
    """
    state = machine.state
    for run in state.runs.values():
        if run.phase is WAITING:
            end_waits_of(state, run)
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
