"""Timers. The core names the time; the driver waits for it and sends the record `TimerFired`."""

from heapq import heapify, heappop, heappush
from typing import Any

from .commands import CancelTimer, StartTimer
from .operators import Effects
from .state import UNSET, RunState, Timer


def start_timer(machine: Effects, due: float, what: Any, **details: Any) -> int:
    """Start a timer that is due at `due` (seconds since the epoch), and return its number."""
    state = machine.state
    number = state.next_id
    state.next_id = number + 1
    if state.timers is None:
        state.timers = {}
    state.timers[number] = Timer(number, due, what, **details)
    if state.dues is not None:
        heappush(state.dues, (due, number))
    machine.out.append(StartTimer(number, due))
    return number


def cancel_timer(machine: Effects, number: int | None) -> None:
    """Cancel a timer, if it has not fired yet."""
    if number is not None and machine.state.timers and machine.state.timers.pop(number, None) is not None:
        machine.out.append(CancelTimer(number))


def next_due(state: RunState) -> float | None:
    """Return when the first timer is due; None if there is none. The first call builds a heap for later calls."""
    timers, dues = state.timers, state.dues
    if not timers:
        return None
    if dues is None or len(dues) > 2 * len(timers):  # the heap keeps ended timers until it is rebuilt here
        dues = state.dues = [(timer.due, timer.id) for timer in timers.values()]
        heapify(dues)
    while dues[0][1] not in timers:
        heappop(dues)
    return dues[0][0]


def holds_open(machine: Effects) -> bool:
    """Whether a timer is left that the execution has to wait for.

    A deadline (`when({"timer": ...})`) counts only while the execution has no result.
    """
    state = machine.state
    return any(timer.what != "deadline" or state.result is UNSET for timer in (state.timers or {}).values())
