"""The records of lazy for_each sources: the driver asks them for items, as many as there is room for.

A source that is being asked is a member of the group of its pass, like a run: whoever waits for the signal that opened
the pass waits for the items that the source has not given yet.
"""

from collections.abc import Callable

from . import events
from .closing import FINAL, fail_pass, rest
from .errors import ExecutionClosed, ProtocolError
from .groups import leave_group
from .operators import Effects, take_pulled
from .state import BlockInstance, Status, Wait


def pulled(machine: Effects, event: events.SourceItems, ended: Callable[[Wait], None]) -> None:
    """The next items of a source. `ended` is called for each wait that ends with the pull."""
    opening = _pulling(machine, event.opening)
    if machine.state.closing is None:
        take_pulled(machine, opening, event.items, event.done)
        _leave(opening, ended)
    _went_on(machine)


def pull_failed(machine: Effects, event: events.SourceFailed, ended: Callable[[Wait], None]) -> None:
    """A source raised. No policy could help: what follows is as for a chunk that failed for good."""
    opening = _pulling(machine, event.opening)
    if machine.state.closing is None:
        fail_pass(machine, opening, event.error)
        _leave(opening, ended)
    opening.pulling = False
    _went_on(machine)


def _leave(opening: BlockInstance, ended: Callable[[Wait], None]) -> None:
    """The pull is over, and what it has started or failed is in the group: nobody saw the group at rest in between."""
    if opening.group is not None:
        leave_group(opening.group, ended)


def _went_on(machine: Effects) -> None:
    if machine.state.idle():
        rest(machine)
    elif machine.state.status is Status.WAITING:
        machine.state.status = Status.RUNNING


def _pulling(machine: Effects, number: int) -> BlockInstance:
    state = machine.state
    if state.status in FINAL:
        raise ExecutionClosed(f"the source of opening {number} gave items after its execution ({state.status.value})")
    opening = (state.openings or {}).get(number)
    if opening is None or not opening.pulling:
        raise ProtocolError(f"nothing is being pulled for opening {number}")
    return opening
