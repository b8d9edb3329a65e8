"""Members of provisional signals: everything that such a signal has started and that has not ended.

Members are added as they begin and removed as they end, so that a retraction needs no search. A member belongs to the
innermost provisional signal. A provisional signal that has members is itself a member of the one around it, as a busy
completion group is a member of its parent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .state import KEPT, BlockInstance, CompletionGroup, Interrupt, Provisional, RunChunk, RunState, Timer


def note_provisional(state: RunState, number: int, group: CompletionGroup | None, by: int | None) -> CompletionGroup:
    """Make the completion group of a provisional signal. `by` is the run that emits it, None outside of runs."""
    if state.provisional is None:
        state.provisional = {}
    idle = state.idle_provisional
    if idle is not None and len(idle) >= KEPT:  # no run can confirm or retract these any more
        for signal in idle:
            del state.provisional[signal]
        state.idle_provisional = None
    made = state.provisional[number] = Provisional(number, group, by)
    _note_idle(state, made)
    return made


def take_member(
    state: RunState, group: CompletionGroup, key: Any, member: RunChunk | BlockInstance | Timer | Interrupt
) -> None:
    """Add a member to the provisional signal of its group."""
    provisional, it = group.provisional, member
    while provisional is not None:
        if provisional.members is not None:
            provisional.members[key] = it
            return
        provisional.members = {key: it}
        if state.idle_provisional is not None:
            state.idle_provisional.pop(provisional.signal, None)
        key = it = provisional
        provisional = provisional.outer


def drop_member(state: RunState, group: CompletionGroup, key: Any) -> None:
    """Remove a member that has ended or was retracted. A missing member is ignored."""
    provisional = group.provisional
    while provisional is not None and provisional.members is not None:
        if provisional.members.pop(key, None) is None or provisional.members:
            return
        provisional.members = None
        _note_idle(state, provisional)
        key, provisional = provisional, provisional.outer


def leave_emitter(state: RunState, run: RunChunk) -> None:
    """Release the provisional signals of a run that has ended: no later attempt can confirm or retract them."""
    for signal in run.recorded_signals.by_signal if run.recorded_signals else ():
        provisional = (state.provisional or {}).get(signal)
        if provisional is not None:
            provisional.by = None
            _note_idle(state, provisional)


def decided(state: RunState, number: int) -> Provisional | None:
    """Remove a provisional signal that is confirmed or retracted now, and return it. None if there is none."""
    provisional = (state.provisional or {}).pop(number, None)
    if provisional is not None and state.idle_provisional is not None:
        state.idle_provisional.pop(number, None)
    return provisional


def signals_around(state: RunState, group: CompletionGroup | None) -> tuple[int, ...]:
    """Return the numbers of the provisional signals around a group that are not confirmed, the innermost first."""
    found: list[int] = []
    provisional = None if group is None else group.provisional
    while provisional is not None:
        if provisional.retracted or provisional.signal in (state.provisional or ()):
            found.append(provisional.signal)
        provisional = provisional.outer
    return tuple(found)


def first_undecided(state: RunState, within: CompletionGroup | None) -> Provisional | None:
    """Return the innermost provisional signal around a group that is neither confirmed nor retracted, or None."""
    provisional = None if within is None else within.provisional
    while provisional is not None and provisional.signal not in (state.provisional or ()):
        provisional = provisional.outer
    return provisional


def is_taken_back(provisional: Provisional | None) -> bool:
    """Whether this provisional signal, or one around it, was retracted."""
    while provisional is not None and not provisional.retracted:
        provisional = provisional.outer
    return provisional is not None


def members(provisional: Provisional) -> list[RunChunk | BlockInstance | Timer | Interrupt]:
    """Return all members of a provisional signal, and those of provisional signals inside it."""
    found: list[RunChunk | BlockInstance | Timer | Interrupt] = []
    rest = [provisional]
    while rest:
        for member in (rest.pop().members or {}).values():
            if isinstance(member, Provisional):
                rest.append(member)
            else:
                found.append(member)
    return found


def restore_provisional(state: RunState, groups: list[CompletionGroup], emitters: Mapping[int, int]) -> None:
    """After a load, set the provisional signal of each group. The caller adds the members after that."""
    made = {id(it): it for it in (state.provisional or {}).values()}
    for it in made.values():
        it.by = emitters.get(it.signal)
    found: dict[int, Provisional | None] = {}
    for start in groups:
        path, group = list[CompletionGroup](), start
        while group is not None and id(group) not in found:
            found[id(group)] = None  # a damaged snapshot may hold a circle of parents
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
