"""The records of lazy for_each sources: the driver asks them for items, as many as there is room for."""

from . import events
from .closing import FINAL, fail_pass, rest
from .errors import ExecutionClosed, ProtocolError
from .operators import Effects, take_pulled
from .state import Opening, Status


def pulled(machine: Effects, event: events.Pulled) -> None:
    """The next items of a source."""
    opening = _pulling(machine, event.opening)
    if machine.state.closing is None:
        take_pulled(machine, opening, event.items, event.done)
    _went_on(machine)


def pull_failed(machine: Effects, event: events.PullFailed) -> None:
    """A source raised. No policy could help: what follows is as for a chunk that failed for good."""
    opening = _pulling(machine, event.opening)
    if machine.state.closing is None:
        fail_pass(machine, opening, event.error)
    opening.pulling = False
    _went_on(machine)


def _went_on(machine: Effects) -> None:
    if machine.state.idle():
        rest(machine)
    elif machine.state.status is Status.WAITING:
        machine.state.status = Status.RUNNING


def _pulling(machine: Effects, number: int) -> Opening:
    state = machine.state
    if state.status in FINAL:
        raise ExecutionClosed(f"the source of opening {number} gave items after its execution ({state.status.value})")
    opening = (state.openings or {}).get(number)
    if opening is None or not opening.pulling:
        raise ProtocolError(f"nothing is being pulled for opening {number}")
    return opening
