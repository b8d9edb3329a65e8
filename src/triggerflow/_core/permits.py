"""Permits of sub-flows: the chunks of a sub-flow respect the limits around its step in the parent.

A sub-flow is an execution of its own, with its own state and journal. Its chunks still count for the limits of its
parent. So each of them takes a permit there, as a `SubFlowPermit`. In the sub-flow, runs queue for permits of its
`PermitGrant`. For each queued run, the sub-flow requests a permit from its parent. In the parent, the `SubFlowPermit`
waits in the queues like any other run. The parent grants permits to the sub-flow. The sub-flow returns a permit when
its run ends or waits. If the parent is a sub-flow itself, its own `PermitGrant` is one more limit. The step takes no
permit: it only waits for the sub-flow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import commands, events
from .errors import ProtocolError
from .limits import acquire, around, queued, release, serve, unqueue
from .operators import Effects
from .state import READY, RUNNING, PermitGrant, RunChunk, SubFlowPermit, SubFlowPermits


def sync_permits(machine: Effects, grant: PermitGrant) -> None:
    """Request permits for queued runs, and return free ones. Runs after every record of a sub-flow."""
    free = grant.held - grant.used
    if free:
        grant.held = grant.limit = grant.used
        machine.out.append(commands.ReturnPermits(free))
    missing = queued(grant) - grant.asked
    if missing > 0:
        grant.asked += missing
        machine.out.append(commands.RequestPermits(missing))


def receive_granted(machine: Effects, event: events.PermitsGranted, resume: Callable[[Any], None]) -> None:
    """In the sub-flow: take permits that the parent has granted."""
    grant = machine.state.grant
    if grant is None or event.count > grant.asked:
        raise ProtocolError(f"{event.count} permits were granted that this sub-flow has not requested")
    grant.asked -= event.count
    grant.held += event.count
    grant.limit += event.count
    serve(grant, resume)


def receive_request(machine: Effects, event: events.PermitsRequested, step: RunChunk) -> None:
    """In the parent: the sub-flow of a step requests permits. Grant the free ones, and queue for the others."""
    state = machine.state
    if state.steps is None:
        state.steps = {}
    permits = state.steps.setdefault(step.id, SubFlowPermits())
    for _ in range(event.count):
        number = state.next_id
        state.next_id = number + 1
        permit = SubFlowPermit(number, step, around(state, step.scope))
        if acquire(permit):
            permits.running[number] = permit
            machine.out.append(commands.GrantPermits(step, 1))
        else:
            permit.phase = READY
            permits.ready[number] = permit


def grant_queued(machine: Effects, permit: SubFlowPermit) -> None:
    """In the parent: grant a permit that was queued and is free now."""
    permits = (machine.state.steps or {})[permit.step.id]
    permits.running[permit.id] = permits.ready.pop(permit.id)
    permit.phase = RUNNING
    machine.out.append(commands.GrantPermits(permit.step, 1))


def receive_returned(machine: Effects, event: events.PermitsReturned, resume: Callable[[Any], None]) -> None:
    """In the parent: the sub-flow of a step returns permits. All permits of a step are equal, so any are released."""
    steps = machine.state.steps or {}
    permits = steps.get(event.run, SubFlowPermits())
    if len(permits.running) < event.count:
        have = len(permits.running)
        raise ProtocolError(f"run {event.run} returns {event.count} permits, and its sub-flow has {have}")
    leaving = [permits.running.popitem()[1] for _ in range(event.count)]
    if not permits.running and not permits.ready:
        steps.pop(event.run, None)
    for permit in leaving:
        release(permit, resume)


def release_sub_flow(machine: Effects, step: RunChunk | None, resume: Callable[[Any], None]) -> None:
    """In the parent: release all permits of the sub-flow of a step that has ended; of all steps if `step` is None."""
    steps = machine.state.steps or {}
    leaving = [permits for number in ([step.id] if step else list(steps)) if (permits := steps.pop(number, None))]
    for permits in leaving:
        for permit in permits.ready.values():  # first, so that the releases below do not grant these permits
            unqueue(permit)
    for permits in leaving:
        for permit in permits.running.values():
            release(permit, resume)
