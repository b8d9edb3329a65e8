"""How an execution ends: it is idle, a failure has no error route, or a caller cancels it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import commands, events
from .events import NO_VALUE
from .groups import handled_by, handling
from .interrupts import close, waiting
from .joins import forget_items, unfilled
from .limits import forget_queues
from .losses import collected
from .operators import Effects, abandon_pass, end_without_value
from .plan import Node
from .results import has_result, settle
from .signals import ANY_CHUNK, Trigger
from .state import (
    KEPT,
    MISSING,
    RUNNING,
    UNSET,
    WAITING,
    BlockInstance,
    Branch,
    CompletionGroup,
    Lost,
    RunChunk,
    Status,
)
from .timers import cancel_timer, holds_open

FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


def fail(machine: Effects, run: RunChunk, error: events.ErrorInfo) -> None:
    """Handle a chunk failure that no retry follows."""
    _fail(machine, run.id, run.node, run.node, run.value, run.scope, run.group, error)


def end_missing(machine: Effects, run: RunChunk, error: events.ErrorInfo) -> None:
    """Handle the end of a sub-flow that has no result, because its own error route or `skip_exceptions` has handled a
    failure.

    Its step is missing. Only a block that collects failures and `fallback` see it as a failure."""
    machine.state.lost = True
    failure = events.Failure(run.node.name, error.type, error.message, run.value)
    lost = Lost(failure) if collected(run.node, run.scope) else MISSING
    end_without_value(machine, run.node, run.scope, run.group, lost)


def fail_pass(machine: Effects, instance: BlockInstance, error: events.ErrorInfo) -> None:
    """Handle an exception of the lazy source of a for_each: the block instance ends, and its operator has failed."""
    abandon_pass(machine, instance)
    # The last operator of a block gives the value of the block to the branch around it. Here it gives none.
    at = instance.node if instance.node.block is None else instance.node.block
    # The source is consumed and cannot be recorded, so the error route gets no input value.
    _fail(machine, instance.id, instance.node, at, None, instance.outer, instance.group, error)


def _fail(
    machine: Effects,
    number: int,
    failed: Node,
    at: Node,
    value: Any,
    scope: Branch | None,
    group: CompletionGroup | None,
    error: events.ErrorInfo,
) -> None:
    """Handle a failure: by a block around the operator that collects failures, else by the error routes, else by
    `skip_exceptions`. Without these the execution fails.

    `failed` is the operator that has failed, and `at` the one that gives no value because of that."""
    state = machine.state
    if collected(at, scope):
        failure = events.Failure(failed.name, error.type, error.message, value)
        end_without_value(machine, at, scope, group, Lost(failure))
    elif routes := _open_routes(machine, failed, group):
        state.lost = state.lost or not at.optional
        end_without_value(machine, at, scope, group)
        trigger = Trigger("error", failed.completes.name)
        details = {"chunk": failed.name, "type": error.type, "message": error.message, "value": value}
        route = None
        for node in routes:
            if route is None or state.rules >= NO_VALUE:
                route = CompletionGroup(group)
                route.handling = node.id if state.rules >= NO_VALUE else ""
            node.enter(machine, node, trigger, details, None, route)
    elif state.skip_exceptions:
        state.lost = state.lost or not at.optional
        if state.skipped is None:
            state.skipped = []
        state.skipped.append(error)
        del state.skipped[:-KEPT]
        machine.out.append(commands.Skipped(number, failed.name, error))
        end_without_value(machine, at, scope, group)
    else:
        state.error = error
        close_down(machine, Status.FAILED)


def _open_routes(machine: Effects, failed: Node, group: CompletionGroup | None) -> Sequence[Node]:
    """Return the error routes that take a failure: those of the operator, else the general ones.

    A route takes no failure of the work that it has started itself. So a failure can pass through each route once."""
    errors = machine.plan.errors
    own, general = errors.get(failed.completes.name, ()), errors.get(ANY_CHUNK, ())
    if machine.state.rules < NO_VALUE:
        return () if handling(group) else own or general
    in_route = handling(group)
    for routes in (own, general):
        # A `when` of errors with nothing behind it handles none.
        if found := [it for it in routes if it.next and not (in_route and handled_by(group, it.id))]:
            return found
    return ()


def close_down(machine: Effects, outcome: Status) -> None:
    """Cancel all runs that have begun, and drop those that have not. `outcome` is the final status."""
    state = machine.state
    state.closing, state.unchecked, state.proposed = outcome, None, None
    forget_queues(state)
    for run in [command for command in machine.out if isinstance(command, RunChunk)]:
        # The command to start this run is in the same list. The run never began, so its permits are returned here.
        del state.runs[run.id]
        for limiter in run.limiters:
            limiter.used -= 1
    machine.out[:] = [command for command in machine.out if not isinstance(command, RunChunk | commands.Pull)]
    state.pulls = 0
    if state.rules >= NO_VALUE:
        for interrupt in list((state.interrupts or {}).values()):
            if interrupt.status == "waiting":
                close(machine, interrupt, "retracted")
    for number in list(state.timers or ()):
        cancel_timer(machine, number)
    state.retries = None
    for run in list(state.runs.values()):
        if run.phase is RUNNING or run.phase is WAITING:
            machine.out.append(commands.CancelRun(run))
        else:
            del state.runs[run.id]


def close_if_idle(machine: Effects) -> None:
    """Close the execution if no run is left and nothing can still wake it."""
    state = machine.state
    if not state.idle() or state.pulls or state.retracted or state.status in FINAL or state.unchecked is not None:
        return
    if state.closing is not None:
        state.status = state.closing
    elif stays_open(machine):
        state.status = Status.WAITING if state.started else Status.CREATED
        if state.joins and not waiting(machine):
            forget_items(state)
        if state.keep_open and not waiting(machine) and not holds_open(machine):
            settle(machine, undecided_too=True)
        if state.keep_open or not state.started:
            machine.out.append(commands.Rested())
        return
    else:
        if state.rare is not None:  # else no result is proposed, and none is being checked
            settle(machine, undecided_too=True)
            if state.unchecked is not None:
                return
        state.status = Status.COMPLETED
        for number in list(state.timers or ()):
            cancel_timer(machine, number)
    outcome: Any = state.status.value
    if state.status is Status.COMPLETED:
        close = commands.Close(outcome, unfilled(machine.plan, state), _never_sent(machine))
    else:
        close = commands.Close(outcome)
    machine.out.append(close)


def stays_open(machine: Effects) -> bool:
    """Whether an idle execution stays open, because something can still wake it; decision 0013."""
    state = machine.state
    return (
        not (state.started or state.never_starts)
        or state.keep_open
        or waiting(machine)
        or holds_open(machine)
        or _awaits_external_event(machine)
    )


def _awaits_external_event(machine: Effects) -> bool:
    """Whether the execution waits for an external event: a caller holds its handle, and it has no result yet."""
    state = machine.state
    return state.has_handle and not has_result(state) and bool(machine.plan.external or state.derived)


def _never_sent(machine: Effects) -> tuple[str, ...]:
    """Events that have listeners and were never sent, if a caller holds the handle and there is no result."""
    state = machine.state
    if not state.has_handle or state.result is not UNSET or state.sent is None:
        return ()
    return tuple(name for name in machine.plan.events if name not in state.sent)
