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
from .limits import acquire, around, release, serve, unqueue
from .operators import Effects
from .state import READY, RUNNING, PermitGrant, RunChunk, SubFlowPermit


def balance(machine: Effects, lease: PermitGrant) -> None:
    """After every record of a sub-flow: ask for what is queued for, give back what is free."""
    free = lease.held - lease.used
    if free:
        lease.held = lease.limit = lease.used
        machine.out.append(commands.ReturnPermits(free))
    missing = len(lease.queue) - lease.asked
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
    for _ in range(event.count):
        number = state.next_id
        state.next_id = number + 1
        guest = SubFlowPermit(number, step, around(state, step.scope))
        if state.guests is None:
            state.guests = {}
        state.guests[number] = guest
        if acquire(guest):
            machine.out.append(commands.GrantPermits(step, 1))
        else:
            guest.phase = READY


def returned(machine: Effects, event: events.PermitsReturned, resume: Callable[[Any], None]) -> None:
    """The sub-flow of a step gives places back."""
    guests = machine.state.guests or {}
    leaving = [it for it in guests.values() if it.step.id == event.run and it.phase is RUNNING][: event.count]
    if len(leaving) < event.count:
        raise ProtocolError(f"run {event.run} gives {event.count} places back, and its sub-flow has {len(leaving)}")
    for guest in leaving:
        del guests[guest.id]
        release(guest, resume)


def dismiss(machine: Effects, step: RunChunk | None, resume: Callable[[Any], None]) -> None:
    """A step has ended, and with it its sub-flow: its guests leave. Without a step, all do."""
    guests = machine.state.guests or {}
    leaving = [it for it in guests.values() if step is None or it.step is step]
    for guest in leaving:
        del guests[guest.id]
        if guest.phase is READY:  # before a place is free that it could get
            unqueue(guest)
    for guest in leaving:
        if guest.phase is RUNNING:
            release(guest, resume)
