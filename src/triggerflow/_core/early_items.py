"""Items that a chunk gives to the for_each blocks that follow it while it still runs.

The first items open these blocks in a provisional signal of the chunk's run. So a retraction takes back all that the
items have started, and also what came after the block if it was stopped early. The chunk's value comes when the answer
that it reads is complete: then the signal is confirmed, and the blocks get no more items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import commands, events
from .definition import OperatorKind
from .digests import forget_signal
from .groups import record_signal, spawn_group
from .operators import Effects, open_early, take_given
from .plan import Node
from .provisional import note_provisional
from .retraction import confirm, retract
from .signals import FieldPlace
from .state import EarlyItems, RunChunk, RunState, Wait

FOR_EACH = OperatorKind.FOR_EACH_SPLIT


def receive_early(machine: Effects, event: events.ItemsGiven, run: RunChunk) -> None:
    """Start the items. The first record of a run opens the blocks; the caller has counted it as an effect."""
    state = machine.state
    early = (state.early or {}).get(run.id)
    if early is None:
        group = note_provisional(state, state.records, spawn_group(run), run.id)
        record_signal(state, run, event.effect, group)
        blocks = [node for node in run.node.next if node.kind is FOR_EACH]
        early = EarlyItems(state.records, [open_early(machine, it, run.id, run.scope, group) for it in blocks])
        state.early = {**(state.early or {}), run.id: early}
    fields: list[FieldPlace | None] = [it if type(it) is FieldPlace else None for it in event.fields]
    fields += [None] * (len(event.items) - len(fields))
    for instance in early.instances:
        take_given(machine, instance, event.items, fields[: len(event.items)], done=False)


def end_early(machine: Effects, run: RunChunk) -> Sequence[Node]:
    """The run has completed: confirm its items, and end the blocks. Returns the other listeners of the run, which get
    its value."""
    early = (machine.state.early or {}).pop(run.id)
    confirm(machine, early.signal)
    for instance in early.instances:
        take_given(machine, instance, [], [], done=True)
    return [node for node in run.node.next if node.kind is not FOR_EACH]


def undecided(state: RunState, run: RunChunk) -> list[int]:
    """The provisional signals for fields that a run has neither confirmed nor retracted, newest first."""
    known = run.recorded_signals.by_signal if run.recorded_signals else {}
    pending = state.provisional or {}
    return [it for it in reversed(known) if it in pending and known[it].place[0].startswith(events.OF_FIELDS)]


def take_back_after_crash(machine: Effects) -> None:
    """Retract what unfinished runs have dispatched for fields: a repeated run asks the model again.

    What is retracted has ended with its process, so there is nothing to cancel. `recover` issues
    the check of a result, as it does for one that was being checked."""
    state = machine.state
    for run in [*state.runs.values()]:
        for signal in undecided(state, run) if run.id in state.runs else ():
            forget_signal(state, signal)
            retract(machine, signal, lambda wait: None)
            machine.out.append(commands.TakenBack(signal))
    machine.out[:] = [it for it in machine.out if not isinstance(it, commands.CancelRun | commands.CheckResult)]


def drop_early(machine: Effects, run: RunChunk, ended: Callable[[Wait], None]) -> None:
    """The run has failed: take its items back. `ended`: see `retract`."""
    early = (machine.state.early or {}).get(run.id)
    if early is not None:
        retract(machine, early.signal, ended)
