"""Recovery in another process: unfinished runs are started again, with the same id and the next attempt number."""

from collections.abc import Callable
from typing import Any

from . import commands, events
from .closing import stays_open
from .early_items import take_back_after_crash
from .errors import ProtocolError
from .groups import end_waits_of, enter_group, give_up_runs, leave_group
from .interrupts import close
from .limits import acquire, release, unqueue
from .operators import Effects
from .permits import release_sub_flow
from .provisional import drop_member, take_member
from .runs import SUB_FLOW
from .state import READY, RUNNING, WAITING, BlockInstance, Interrupt, Interruptions, RunChunk, RunState, Status


def recover(machine: Effects, resumed: Callable[[Any], None], *, lost: bool = False) -> None:
    """Issue again all commands that are not finished.

    Runs keep their permits, except the permits between a sub-flow and its parent. Both sides drop those, and the
    sub-flow requests them again, because one side may have lost records that the other side has. What an unfinished run
    has dispatched for fields of a model's answer is retracted: it asks the model again. A run that waited for
    its signals starts again without that wait. A run that lost its permits queues for them, ahead of runs that have not
    begun. `resumed` is called for each queued run that gets a permit which was returned here. `lost`: the process of
    the running runs has ended, see `events.Recovered`.
    """
    state = machine.state
    if state.provisional and state.closing is None:
        take_back_after_crash(machine)
    begun = [run for run in state.runs.values() if run.phase is RUNNING or run.phase is WAITING]
    displaced = [run for run in begun if run.phase is WAITING or state.grant is not None]
    for run in begun:
        _interrupted(run, lost=lost)
        if run.phase is WAITING:
            end_waits_of(state, run)
            unqueue(run)
            run.spawned = None
    release_sub_flow(machine, None, resumed)
    for run in (state.retracted or {}).values():  # a retracted run ended with its process
        end_waits_of(state, run)
        if run.phase is RUNNING:
            release(run, resumed)
        if run.group is not None:
            drop_member(state, run.group, run.id)
            leave_group(run.group, lambda wait: None)
    state.retracted = None
    for run in displaced:
        if run.phase is RUNNING:
            release(run, resumed)
        run.phase = READY
    for run in reversed(displaced):
        if acquire(run, first=True):
            run.phase = RUNNING
    if state.grant is not None:
        state.grant.held = state.grant.limit = state.grant.used
        state.grant.asked = 0
    if state.closing is not None:  # the runs that were being cancelled ended with their process
        give_up_runs(state)
        begun = []
    for instance in _pulling(state):
        _pull_interrupted(instance, lost=lost)
    machine.out.extend(run for run in begun if run.phase is RUNNING)
    machine.out.extend(_due_again(state))


def _interrupted(run: RunChunk, *, lost: bool) -> None:
    """Begin the next attempt of a run whose attempt has neither completed nor failed.

    A run that waits inside the engine, and the step of a sub-flow, end no process: they count no losses."""
    noted = run.interruptions
    if noted is None:
        noted = run.interruptions = Interruptions()
    run.attempt += 1
    noted.count += 1
    if lost and not noted.orderly and run.phase is RUNNING and run.node.kind is not SUB_FLOW:
        noted.losses += 1
        noted.lost_alone += noted.alone
    noted.orderly = noted.alone = False


def _pull_interrupted(instance: BlockInstance, *, lost: bool) -> None:
    """Ask a lazy source again for items that it has not given."""
    noted = instance.interruptions
    if noted is None:
        noted = instance.interruptions = Interruptions()
    noted.count += 1
    if lost and not noted.orderly:
        noted.losses += 1
        noted.lost_alone += noted.alone
    noted.orderly = noted.alone = False


def stopped(state: RunState, *, begun: bool = True) -> None:
    """The process has stopped all runs that were running. Without `begun` none of them has begun its first attempt."""
    for run in state.runs.values():
        if run.phase is RUNNING or run.phase is WAITING:
            if run.interruptions is None:
                run.interruptions = Interruptions()
            run.interruptions.orderly = True
            if not begun:  # `_interrupted` counts the first attempt
                run.attempt = 0
                run.interruptions.count = -1
    for instance in _pulling(state):
        if instance.interruptions is None:
            instance.interruptions = Interruptions()
        instance.interruptions.orderly = True


def retried(machine: Effects, event: events.Retried, before: RunState) -> RunState:
    """Return the state with which a failed execution runs again: `before`, with the numbers, the data and the stream of
    now. Its unfinished runs are as after a crash, and `recover` starts them.

    Raises `ProtocolError` if the execution has not ended, or its record `failed` did not end it."""
    now = machine.state
    if now.status not in (Status.FAILED, Status.CANCELLED):
        raise ProtocolError(
            f"the execution is {now.status.value} after record {now.records}: only one that has failed or was "
            "cancelled runs again"
        )
    if before.closing is not None:
        raise ProtocolError(
            f"the state before record {event.failed} is of an execution that is closing ({before.closing.value}): a "
            "retry needs the state before the closing began"
        )
    if before.records != event.failed or event.failed >= now.records:
        raise ProtocolError(
            f"record {event.failed} did not end the execution: it has {now.records} records, and the state to run from "
            f"is after {before.records}"
        )
    before.records = now.records + 1
    before.next_id = max(before.next_id, now.next_id)
    before.data.clear()
    before.data.update(now.data)
    before.flow_data = now.flow_data
    before.owned = None
    before.stream, before.stream_stopped = now.stream, now.stream_stopped
    before.status = Status.RUNNING
    _shift_times(before, event)
    run = None if event.run is None else before.run(event.run)
    if run is not None and run.effects is not None:
        run.failed = dict(run.effects)
    interrupts = before.interrupts or {}
    for name in event.interrupts:
        interrupt = interrupts.get(name)
        closed = interrupt is not None and interrupt.status in ("retracted", "expired")
        if interrupt is not None and closed and before.run(interrupt.run.id) is not None:
            interrupt.status = "waiting"
            before.asking += 1
    asked = None if event.expired is None else interrupts.get(event.expired)
    if asked is not None and asked.status == "waiting":
        _ask_again(machine, before, asked)
        run = asked.run
    stopped(before)
    for other in before.runs.values():
        if other.interruptions is not None:
            other.interruptions.losses = other.interruptions.lost_alone = 0
            if other is run:  # its attempt has failed
                other.interruptions.count -= 1
    for instance in _pulling(before):
        if instance.interruptions is not None:
            instance.interruptions.losses = instance.interruptions.lost_alone = 0
    return before


def _shift_times(state: RunState, event: events.Retried) -> None:
    """Move what counts from the start or from a question by the time that the execution was ended.

    Else open questions would expire at once after a late retry, and the execution would reach its time limit. Delayed
    signals keep their time, as after a crash: those that are overdue fire at once."""
    ended = 0.0 if event.ended is None else max(0.0, event.at - event.ended)
    for timer in (state.timers or {}).values():
        if timer.what == "limit":  # it counts from the retry
            timer.due, timer.name = event.at + (state.execution_timeout or 0), ""
        elif timer.what in ("expiry", "deadline"):
            timer.due += ended
    state.dues = None  # `next_due` builds it again
    for interrupt in (state.interrupts or {}).values():
        if interrupt.expires is not None and interrupt.status != "resumed":
            interrupt.expires += ended


def _ask_again(machine: Effects, state: RunState, interrupt: Interrupt) -> None:
    """Run the chunk again whose interrupt has expired."""
    run, machine.state = interrupt.run, state
    close(machine, interrupt, "expired")
    run.waits = run.spawned = None
    run.failed = None if run.effects is None else dict(run.effects)
    run.phase = READY
    state.runs[run.id] = run
    if run.group is not None:
        enter_group(run.group)
        if run.group.provisional is not None:
            take_member(state, run.group, run.id, run)
    if acquire(run):
        run.phase = RUNNING
    else:  # `recover` counts the attempts of running chunks only
        run.attempt += 1


def outstanding(machine: Effects) -> list[commands.AnyCommand] | None:
    """Return the commands to issue again after a load.

    None if the driver has to send the record `Recovered` instead: chunks were running and run again, or nothing can
    wake the execution any more under the definition to which it was migrated."""
    state = machine.state
    over = state.status is Status.WAITING and state.idle() and not stays_open(machine)
    return None if over or _had_begun(state) else _due_again(state)


def _due_again(state: RunState) -> list[commands.AnyCommand]:
    """Return the unfinished commands that can be issued again without a change of the state."""
    # Those that are overdue fire in this order.
    pending = sorted((state.timers or {}).values(), key=lambda it: (it.due, it.id))
    timers = [commands.StartTimer(timer.id, timer.due) for timer in pending]
    pulls = [commands.Pull(instance, 1) for instance in _pulling(state)]
    checks = [] if state.unchecked is None else [commands.CheckResult(*state.unchecked)]
    return [*timers, *pulls, *checks]


def _pulling(state: RunState) -> list[BlockInstance]:
    """The block instances whose lazy source was asked for items."""
    if not state.pulls:
        return []
    return [instance for instance in (state.block_instances or {}).values() if instance.pulling]


def _had_begun(state: RunState) -> bool:
    """Whether `recover` would change the state: an attempt would be counted, or a permit would be lost."""
    if state.closing is not None or state.retracted or state.steps or state.pulls:
        return True
    if state.grant is not None and (state.grant.held or state.grant.asked):
        return True
    return not state.idle() and any(run.phase is RUNNING or run.phase is WAITING for run in state.runs.values())
