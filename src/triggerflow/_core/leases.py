"""Sub-flows under the limits around their step.

A sub-flow is an execution of its own, with a state and a journal of its own, and yet its chunks count for the limits of
its parent. So each of them takes a permit there, as a `SubFlowPermit`. In the sub-flow, runs queue for permits of its
`PermitGrant`. For each run that queues, it asks its parent for a permit, in whose queues the `SubFlowPermit` waits like
any other run. What is granted is handed down, and given back when the run ends or waits. In a parent that is a sub-flow
itself the lease is one of the limits that the guest has to respect. The step takes no place: it only waits for what
runs inside it.
"""

from collections.abc import Callable
from typing import Any

from . import commands, events
from .errors import ProtocolError
from .limits import acquire, around, queued, release, serve, unqueue
from .operators import Effects
from .state import READY, RUNNING, Guests, PermitGrant, RunChunk, SubFlowPermit


def balance(machine: Effects, lease: PermitGrant) -> None:
    """After every record of a sub-flow: ask for what is queued for, give back what is free."""
    free = lease.held - lease.used
    if free:
        lease.held = lease.limit = lease.used
        machine.out.append(commands.ReturnPermits(free))
    missing = queued(lease) - lease.asked
    if missing > 0:
        lease.asked += missing
        machine.out.append(commands.RequestPermits(missing))


def granted(machine: Effects, event: events.PermitsGranted, resume: Callable[[Any], None]) -> None:
    """Places for the sub-flow."""
    lease = machine.state.lease
    if lease is None or event.count > lease.asked:
        raise ProtocolError(f"{event.count} places were granted that nobody has asked for")
    lease.asked -= event.count
    lease.held += event.count
    lease.limit += event.count
    serve(lease, resume)


def wanted(machine: Effects, event: events.PermitsRequested, step: RunChunk) -> None:
    """The sub-flow of a step asks for places."""
    state = machine.state
    if state.steps is None:
        state.steps = {}
    guests = state.steps.setdefault(step.id, Guests())
    for _ in range(event.count):
        number = state.next_id
        state.next_id = number + 1
        guest = SubFlowPermit(number, step, around(state, step.scope))
        if acquire(guest):
            guests.running[number] = guest
            machine.out.append(commands.GrantPermits(step, 1))
        else:
            guest.phase = READY
            guests.ready[number] = guest


def admitted(machine: Effects, guest: SubFlowPermit) -> None:
    """A guest that queued has its places now."""
    guests = (machine.state.steps or {})[guest.step.id]
    guests.running[guest.id] = guests.ready.pop(guest.id)
    guest.phase = RUNNING
    machine.out.append(commands.GrantPermits(guest.step, 1))


def returned(machine: Effects, event: events.PermitsReturned, resume: Callable[[Any], None]) -> None:
    """The sub-flow of a step gives places back. Which of its guests leave makes no difference: it has only counted
    them."""
    steps = machine.state.steps or {}
    guests = steps.get(event.run, Guests())
    if len(guests.running) < event.count:
        have = len(guests.running)
        raise ProtocolError(f"run {event.run} gives {event.count} places back, and its sub-flow has {have}")
    leaving = [guests.running.popitem()[1] for _ in range(event.count)]
    if not guests.running and not guests.ready:
        steps.pop(event.run, None)
    for guest in leaving:
        release(guest, resume)


def dismiss(machine: Effects, step: RunChunk | None, resume: Callable[[Any], None]) -> None:
    """A step has ended, and with it its sub-flow: its guests leave. Without a step, all do."""
    steps = machine.state.steps or {}
    leaving = [guests for number in ([step.id] if step else list(steps)) if (guests := steps.pop(number, None))]
    for guests in leaving:
        for guest in guests.ready.values():  # before a place is free that it could get
            unqueue(guest)
    for guests in leaving:
        for guest in guests.running.values():
            release(guest, resume)
