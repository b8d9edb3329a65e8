"""The records of lazy for_each sources: the driver pulls items from a source, as many as the limits allow.

A source with an open pull is a member of the completion group of its block instance, like a run. So a wait for the
signal that opened the block lasts until the source has given its items.
"""

from collections.abc import Callable

from . import events
from .closing import FINAL, close_if_idle, fail_pass
from .errors import ExecutionClosed, ProtocolError
from .groups import leave_group
from .operators import Effects, take_pulled
from .state import BlockInstance, Status, Wait


def receive_items(machine: Effects, event: events.SourceItems, ended: Callable[[Wait], None]) -> None:
    """Take the next items of a source. `ended` is called for each wait that this ends, as the pull leaves its group."""
    instance = _pulling(machine, event.opening)
    if machine.state.closing is None:
        take_pulled(machine, instance, event.items, event.done)
        _leave(instance, ended)
    _after_pull(machine)


def receive_failure(machine: Effects, event: events.SourceFailed, ended: Callable[[Wait], None]) -> None:
    """Handle an exception of a source like a chunk failure without retries."""
    instance = _pulling(machine, event.opening)
    if machine.state.closing is None:
        fail_pass(machine, instance, event.error)
        _leave(instance, ended)
    instance.pulling = False
    _after_pull(machine)


def isolate(machine: Effects, opening: int) -> None:
    """A source is asked as the only suspect of its process, see `events.Isolated`."""
    noted = _pulling(machine, opening).interruptions
    if noted is not None:
        noted.alone = True


def _leave(instance: BlockInstance, ended: Callable[[Wait], None]) -> None:
    """Remove the pull from its completion group. The runs of its items are members already, so the group stays busy."""
    if instance.group is not None:
        leave_group(instance.group, ended)


def _after_pull(machine: Effects) -> None:
    if machine.state.idle():
        close_if_idle(machine)
    elif machine.state.status is Status.WAITING:
        machine.state.status = Status.RUNNING


def _pulling(machine: Effects, number: int) -> BlockInstance:
    state = machine.state
    if state.status in FINAL:
        raise ExecutionClosed(
            f"items for block instance {number} came after its execution had ended ({state.status.value})"
        )
    instance = (state.block_instances or {}).get(number)
    if instance is None or not instance.pulling:
        raise ProtocolError(f"items came for block instance {number}, whose source was not asked for any")
    return instance
