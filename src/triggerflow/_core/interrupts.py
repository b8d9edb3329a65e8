"""Interrupts: open questions to the outside (`pause_for`), and their answers.

`pause_for` ends the chunk and opens an interrupt. The interrupt holds the run. Its scope decides in which branch the
answer continues, and its operator decides which operators follow. Several interrupts can be open at once. An interrupt
takes one answer. A second answer with the same request is ignored. An execution in which only interrupts are left has
the status `waiting`.

An interrupt of a sub-flow is also open in its parent, with `holds`: the run of the step does not end. If the interrupt
of the sub-flow closes without an answer, the parent gets the record `InterruptClosed`.
"""

from __future__ import annotations

from typing import Literal

from . import commands, events
from .errors import AlreadyAnswered, InterruptExpired, ProtocolError, UnknownInterrupt
from .operators import Effects, enter_chunk
from .provisional import drop_member, take_member
from .signals import Trigger
from .state import KEPT, Interrupt, RunChunk
from .timers import cancel_timer, start_timer
from .values import equals, key, seconds, text


def check_pause(machine: Effects, event: events.Paused) -> None:
    """Raise `ProtocolError` if the interrupt cannot be opened, `UsageError` if a name or number has the wrong type."""
    event.interrupt = key(event.interrupt, "the id of an interrupt")
    event.resume_to = text(event.resume_to, "resume_to")
    if event.resume_event is not None:
        event.resume_event = text(event.resume_event, "the name of an event")
    if event.expires is not None:
        event.expires = seconds(event.expires, "the time up to which an answer is taken")
    known = (machine.state.interrupts or {}).get(event.interrupt)
    if known is not None and known.status == "waiting":
        raise ProtocolError(f"interrupt {event.interrupt!r} is open already; give each its own interrupt_id")


def pause(machine: Effects, event: events.Paused, run: RunChunk) -> None:
    """Open the interrupt of a run."""
    state = machine.state
    if state.interrupts is None:
        state.interrupts = {}
    interrupt = Interrupt(
        id=event.interrupt,
        type=event.type,
        payload=event.payload,
        resume_event=event.resume_event,
        resume_to=event.resume_to,
        schema=event.schema,
        expires=event.expires,
        holds=event.holds,
        run=run,
        asked=event.at,
    )
    if event.expires is not None and not event.holds:  # with `holds`, the sub-flow reports the expiry
        interrupt.timer = start_timer(machine, event.expires, "expiry", name=event.interrupt)
    state.interrupts[event.interrupt] = interrupt
    state.asking += 1
    if run.group is not None and run.group.provisional is not None:
        take_member(state, run.group, (interrupt.id,), interrupt)
    count = len(state.interrupts)
    if count > KEPT and not count & (count - 1):  # at powers of two only, because the search visits every interrupt
        _forget_closed(machine, state.interrupts)
    machine.out.append(commands.OpenInterrupt(interrupt))


def _forget_closed(machine: Effects, interrupts: dict[str, Interrupt]) -> None:
    """Drop old closed interrupts.

    The newest closed interrupts stay, so that a repeated answer is recognised; so does an interrupt whose answer
    restarted its own chunk, until that run ends. Nothing is done if only few could be dropped, compared with the cost
    of the search.
    """
    over = len(interrupts) - machine.state.asking
    if over < max(KEPT, machine.state.asking, len(machine.state.runs)):
        return
    asking = {run.trigger.name for run in machine.state.runs.values() if run.trigger.kind == "resume"}
    over = [id for id, it in interrupts.items() if it.status != "waiting" and id not in asking]
    for id in over[: -KEPT // 2]:
        del interrupts[id]


def close(machine: Effects, interrupt: Interrupt, status: Literal["resumed", "expired", "retracted"]) -> None:
    """Close an open interrupt with this status. From now on it accepts no answer."""
    interrupt.status = status
    machine.state.asking -= 1
    group = interrupt.run.group
    if group is not None and group.provisional is not None:
        drop_member(machine.state, group, (interrupt.id,))
    cancel_timer(machine, interrupt.timer)
    if status != "resumed":
        machine.out.append(commands.CloseInterrupt(interrupt))


def repeats(interrupt: Interrupt, event: events.Resumed) -> bool:
    """Whether the same request has answered this interrupt before."""
    known, request = interrupt.request, event.request
    return interrupt.status == "resumed" and request is not None and equals(known, request) is True


def answerable(machine: Effects, event: events.Resumed) -> Interrupt | None:
    """Return the interrupt to answer; None if the same request has answered it before.

    Raises `UnknownInterrupt`, `InterruptExpired` or `AlreadyAnswered`.
    """
    number = event.interrupt
    interrupts = machine.state.interrupts or {}
    interrupt = interrupts.get(number)
    if interrupt is None:
        waiting = [id for id, it in interrupts.items() if it.status == "waiting"]
        raise UnknownInterrupt(f"there is no interrupt {number!r}; open now: {waiting}")
    if interrupt.status == "retracted":
        raise AlreadyAnswered(
            f"interrupt {number!r} is not waiting: it was closed without an answer, because its signal was retracted "
            "or its sub-flow has ended"
        )
    late = interrupt.status == "waiting" and interrupt.expires is not None and event.at > interrupt.expires
    if interrupt.status == "expired" or late:
        raise InterruptExpired(f"interrupt {number!r} has expired and takes no answer any more")
    if interrupt.status == "resumed":
        if repeats(interrupt, event):
            return None
        raise AlreadyAnswered(
            f"interrupt {number!r} is not waiting: request {interrupt.request!r} has answered it before"
        )
    return interrupt


def resume(machine: Effects, event: events.Resumed, interrupt: Interrupt) -> None:
    """Store the answer, and start the operators that follow the interrupt."""
    interrupt.response, interrupt.request = event.value, event.request
    close(machine, interrupt, "resumed")
    run = interrupt.run
    if interrupt.holds:
        machine.out.append(commands.Answer(interrupt))
    elif interrupt.resume_event is not None:
        trigger = Trigger("event", interrupt.resume_event)
        nodes = machine.plan.events.get(interrupt.resume_event, ())
        if nodes and machine.state.sent is not None:
            machine.state.note_sent(interrupt.resume_event)
        for node in nodes:
            node.enter(machine, node, trigger, event.value, None, run.group)
    elif interrupt.resume_to == "self":
        enter_chunk(machine, run.node, Trigger("resume", interrupt.id), event.value, run.scope, run.group)
    else:
        for node in run.node.next:
            node.enter(machine, node, run.node.completes, event.value, run.scope, run.group)


def waiting(machine: Effects) -> bool:
    """Whether an interrupt is open."""
    return machine.state.asking > 0
