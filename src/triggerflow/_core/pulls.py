"""The records of lazy for_each sources: the driver asks them for items, as many as there is room for."""

from . import events
from .closing import FINAL, close_down, rest
from .errors import ExecutionClosed, ProtocolError
from .operators import Effects, take_pulled
from .state import Opening, Status


def pulled(machine: Effects, event: events.Pulled) -> None:
    """The next items of a source."""
    opening = _pulling(machine, event.opening)
    if machine.state.closing is None:
        take_pulled(machine, opening, event.items, event.done)
    if not machine.state.runs:
        rest(machine)
    elif machine.state.status is Status.WAITING:
        machine.state.status = Status.RUNNING


def pull_failed(machine: Effects, event: events.PullFailed) -> None:
    """A source raised: there is no chunk whose policy could help, so the execution fails."""
    state = machine.state
    opening = _pulling(machine, event.opening)
    opening.pulling = False
    if state.closing is None:
        state.pulls -= 1
        state.error = event.error
        close_down(machine, Status.FAILED)
    if not state.runs:
        rest(machine)


def _pulling(machine: Effects, number: int) -> Opening:
    state = machine.state
    if state.status in FINAL:
        raise ExecutionClosed(f"the source of opening {number} gave items after its execution ({state.status.value})")
    opening = (state.openings or {}).get(number)
    if opening is None or not opening.pulling:
        raise ProtocolError(f"nothing is being pulled for opening {number}")
    return opening
