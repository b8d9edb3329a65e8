"""What is at work because of a provisional signal: kept as it begins and ends, so that taking it back searches nothing.

A member is kept by the innermost provisional signal; one that has members is itself a member of the one around it, as a
busy group is of its parent.
"""

from collections.abc import Mapping
from typing import Any

from .state import KEPT, BlockInstance, CompletionGroup, Interrupt, Provisional, RunChunk, RunState, Timer


def note_provisional(state: RunState, number: int, group: CompletionGroup | None, by: int | None) -> CompletionGroup:
    """The group of a provisional signal that a run emits, or somebody outside (None)."""
    if state.provisional is None:
        state.provisional = {}
    idle = state.idle_provisional
    if idle is not None and len(idle) >= KEPT:  # nobody has decided on them, and it makes no difference any more
        for signal in idle:
            del state.provisional[signal]
        state.idle_provisional = None
    made = state.provisional[number] = CompletionGroup(group)
    made.provisional = Provisional(number, made, by)
    _note_idle(state, made.provisional)
    return made


def take_member(
    state: RunState, group: CompletionGroup, key: Any, member: RunChunk | BlockInstance | Timer | Interrupt
) -> None:
    """Something begins because of the provisional signal that a group is caused by."""
    provisional, it = group.provisional, member
    while provisional is not None:
        first = not provisional.members
        provisional.members[key] = it
        if not first:
            return
        if state.idle_provisional is not None:
            state.idle_provisional.pop(provisional.signal, None)
        key = it = provisional
        provisional = provisional.outer


def drop_member(state: RunState, group: CompletionGroup, key: Any) -> None:
    """It has ended, or was taken back; of what is no member any more, nothing happens."""
    provisional = group.provisional
    while provisional is not None and provisional.members.pop(key, None) is not None and not provisional.members:
        _note_idle(state, provisional)
        key, provisional = provisional, provisional.outer


def leave_emitter(state: RunState, run: RunChunk) -> None:
    """A run has ended: it does not come back to the signals that it has emitted."""
    for signal in run.kept.of_signal if run.kept else ():
        group = (state.provisional or {}).get(signal)
        if group is not None and group.provisional is not None:
            group.provisional.by = None
            _note_idle(state, group.provisional)


def decided(state: RunState, number: int) -> Provisional | None:
    """Somebody has decided on a provisional signal; what is at work because of it. None if there is no such signal."""
    group = (state.provisional or {}).pop(number, None)
    if group is None:
        return None
    if state.idle_provisional is not None:
        state.idle_provisional.pop(number, None)
    return group.provisional


def members(provisional: Provisional) -> list[RunChunk | BlockInstance | Timer | Interrupt]:
    """All that is at work because of a signal, also by way of other provisional ones."""
    found: list[RunChunk | BlockInstance | Timer | Interrupt] = []
    rest = [provisional]
    while rest:
        for member in rest.pop().members.values():
            if isinstance(member, Provisional):
                rest.append(member)
            else:
                found.append(member)
    return found


def restore_provisional(state: RunState, groups: list[CompletionGroup], emitters: Mapping[int, int]) -> None:
    """Find the provisional signal of each group again, after a load; their members have to be taken then."""
    known = state.provisional.items() if state.provisional else ()
    made = {id(group): Provisional(signal, group, emitters.get(signal)) for signal, group in known}
    found: dict[int, Provisional | None] = {}
    for start in groups:
        path, group = list[CompletionGroup](), start
        while group is not None and id(group) not in found:
            found[id(group)] = None  # a damaged snapshot may go round in a circle
            path.append(group)
            group = group.parent
        provisional = None if group is None else found[id(group)]
        for group in reversed(path):
            if id(group) in made:
                made[id(group)].outer, provisional = provisional, made[id(group)]
            group.provisional = found[id(group)] = provisional
    for provisional in made.values():
        _note_idle(state, provisional)


def _note_idle(state: RunState, provisional: Provisional) -> None:
    if provisional.members or provisional.by is not None or provisional.signal not in (state.provisional or ()):
        return
    if state.idle_provisional is None:
        state.idle_provisional = {}
    state.idle_provisional[provisional.signal] = None
