"""Timers. The core names the time; the driver waits for it and sends the record `TimerFired`."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from .commands import CancelTimer, StartTimer
from .groups import leave_group
from .operators import Effects
from .provisional import drop_member
from .results import has_result
from .state import RunState, Timer, Wait

#: The name of the timer of a time limit that fired late and was extended.
EXTENDED = "extended"


def start_timer(machine: Effects, due: float, what: Any, **details: Any) -> int:
    """Start a timer that is due at `due` (seconds since the epoch), and return its number."""
    state = machine.state
    number = state.next_id
    state.next_id = number + 1
    if state.timers is None:
        state.timers = {}
    timer = state.timers[number] = Timer(number, due, what, **details)
    _count(state, timer, 1)
    if state.delayed is not None and what == "signal":
        _index(state.delayed, timer)
    if state.dues is not None:
        heappush(state.dues, (due, number))
    machine.out.append(StartTimer(number, due))
    return number


def leave_timer(state: RunState, timer: Timer, ended: Callable[[Wait], None]) -> None:
    """Take a timer that was removed out of its completion group. `ended` is called for each wait that ends with it."""
    if timer.group is not None:
        drop_member(state, timer.group, timer.id)
        if timer.keeps_open:
            leave_group(timer.group, ended)


def take_timer(state: RunState, number: int) -> Timer | None:
    """Remove a timer that has fired or is cancelled, and return it; None if it is not running."""
    timer = None if state.timers is None else state.timers.pop(number, None)
    if timer is None:
        return None
    _count(state, timer, -1)
    if state.delayed is not None and timer.what == "signal":
        for name in {timer.name, timer.label or timer.name}:
            numbers = state.delayed[name]
            del numbers[number]
            if not numbers:
                del state.delayed[name]
    return timer


def extend_limit(machine: Effects, limit: Timer, at: float, grace: float) -> None:
    """The time limit has fired late, and what was due before it has only begun: the limit fires again after `grace`
    seconds, once and for all. What was due after the limit moves behind it by the same time, so that nothing overtakes
    it."""
    state, late = machine.state, max(0.0, at - limit.due)
    for timer in (state.timers or {}).values():
        timer.due += late
        machine.out += (CancelTimer(timer.id), StartTimer(timer.id, timer.due))
    for interrupt in (state.interrupts or {}).values():
        if interrupt.status == "waiting" and interrupt.timer is not None and interrupt.expires is not None:
            interrupt.expires += late
    state.dues = None  # `first_due` builds it again
    start_timer(machine, at + grace, "limit", name=EXTENDED, keeps_open=False)


def cancel_timer(machine: Effects, number: int | None) -> None:
    """Cancel a timer, if it has not fired yet."""
    if number is not None and take_timer(machine.state, number) is not None:
        machine.out.append(CancelTimer(number))


def cancel_signals(machine: Effects, name: str) -> list[Timer]:
    """Cancel the delayed signals with this name or label, and return their timers, oldest first."""
    state = machine.state
    timers = state.timers
    if not timers:
        return []
    if state.delayed is None:  # from now on it is kept up to date, so that a cancellation costs what it cancels
        state.delayed = {}
        for timer in timers.values():
            if timer.what == "signal":
                _index(state.delayed, timer)
    found = [timers[number] for number in state.delayed.get(name, ())]
    for timer in found:
        cancel_timer(machine, timer.id)
    return found


def pending_signals(state: RunState, name: str) -> int:
    """How many delayed signals with this name or label are pending."""
    if state.delayed is not None:
        return len(state.delayed.get(name, ()))
    timers = (state.timers or {}).values()
    return sum(timer.what == "signal" and name in (timer.name, timer.label or timer.name) for timer in timers)


def _index(delayed: dict[str, dict[int, None]], timer: Timer) -> None:
    delayed.setdefault(timer.name, {})[timer.id] = None
    if timer.label:
        delayed.setdefault(timer.label, {})[timer.id] = None


def _count(state: RunState, timer: Timer, step: int) -> None:
    if timer.what == "deadline":
        state.deadlines += step
    elif not timer.keeps_open:
        state.loose += step


def count_timers(state: RunState) -> None:
    """Count the timers of a state that was loaded."""
    for timer in (state.timers or {}).values():
        _count(state, timer, 1)


def next_due(state: RunState) -> float | None:
    """Return when the first timer is due; None if there is none."""
    first = first_due(state)
    return None if first is None else first[0]


def first_due(state: RunState) -> tuple[float, int] | None:
    """Return when the timer is due that comes first, and its number; None if there is none.

    The first call builds a heap for later calls."""
    timers, dues = state.timers, state.dues
    if not timers:
        return None
    if dues is None or len(dues) > 2 * len(timers):  # the heap keeps ended timers until it is rebuilt here
        dues = state.dues = [(timer.due, timer.id) for timer in timers.values()]
        heapify(dues)
    while dues[0][1] not in timers:
        heappop(dues)
    return dues[0]


def holds_open(machine: Effects) -> bool:
    """Whether a timer is left that the execution has to wait for.

    A deadline (`when({"timer": ...})`) counts only while the execution has no result. The time limit of the execution
    and delayed signals without `keeps_open` never count.
    """
    state = machine.state
    timers = state.timers
    if not timers:
        return False
    return len(timers) > (state.loose + state.deadlines if has_result(state) else state.loose)


def awaits_answers_only(state: RunState) -> bool:
    """Whether no work is left that has begun or will begin by itself; questions may be open."""
    if not state.idle() or state.pulls or state.retracted or state.unchecked is not None:
        return False
    return not any(it.keeps_open and it.what not in ("expiry", "deadline") for it in (state.timers or {}).values())


def at_work(state: RunState) -> bool:
    """Whether a timer is left that counts as work of the execution: not an expiry, and none that nothing waits for."""
    if not state.timers:
        return False
    return any(timer.keeps_open and timer.what != "expiry" for timer in state.timers.values())
