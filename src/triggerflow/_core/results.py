"""The result of an execution: the first value that arrives, unless the work that gave it is taken back.

A result from inside of a provisional signal counts when that signal is confirmed. Until then it is *proposed*, and so
are the results that arrive after it: the first proposal counts that is not taken back. When no work is left, no run
can retract the signal any more, so the result counts as well.
"""

from __future__ import annotations

from collections import deque

from .commands import CheckResult, ResultDropped, ResultFixed
from .events import PROVISIONAL_RESULTS
from .losses import HasState
from .provisional import first_undecided, is_taken_back
from .state import UNSET, ProposedResult, RunState
from .values import equals


def offer(machine: HasState, result: ProposedResult, *, replace: bool = False) -> None:
    """Take a result. With `replace` it comes before the results that arrived earlier."""
    state = machine.state
    if state.rules < PROVISIONAL_RESULTS or (state.proposed is None and result.provisional is None):
        _take(machine, result, replace)
    elif replace and result.provisional is None:
        state.proposed = None
        _fix(machine, result)
    elif replace:
        state.proposed = deque([result, *(state.proposed or ())])
    elif state.result is not UNSET or state.unchecked is not None:
        _drop(machine, result)
    elif state.proposed is None:
        state.proposed = deque([result])
    else:
        last, within = state.proposed[-1], state.proposed[-1].provisional
        if is_taken_back(within) or first_undecided(state, within) not in (None, result.provisional):
            state.proposed.append(result)
        elif not result.is_nothing and equals(last.value, result.value) is not True:
            machine.out.append(ResultDropped(result.chunk))  # it could never come before the last one


def settle(machine: HasState, *, undecided_too: bool = False) -> None:
    """Let the first proposed result count if it is certain now; with `undecided_too` also if it is not."""
    state, proposed = machine.state, machine.state.proposed
    if proposed is None:
        return
    while proposed and is_taken_back(proposed[0].provisional):
        proposed.popleft()
    if proposed and not undecided_too and first_undecided(state, proposed[0].provisional) is not None:
        return
    state.proposed = None
    if not proposed:
        return
    first = proposed.popleft()
    if first.is_from_end and state.checks_result:
        _check(machine, first)
        return
    _fix(machine, first)
    for other in proposed:
        if not is_taken_back(other.provisional):
            _drop(machine, other)


def has_result(state: RunState) -> bool:
    """Whether a result has arrived. If no work is left, it counts, also if it is only proposed."""
    return state.result is not UNSET or state.proposed is not None


def _take(machine: HasState, result: ProposedResult, replace: bool) -> None:
    """Take a result that is certain, while none is proposed."""
    state = machine.state
    if state.result is not UNSET and not replace:
        _drop(machine, result)
    elif not (result.is_from_end and state.checks_result):
        _fix(machine, result)
    elif state.unchecked is None:
        _check(machine, result)


def _check(machine: HasState, result: ProposedResult) -> None:
    machine.state.unchecked = (str(result.by), result.value)
    machine.out.append(CheckResult(str(result.by), result.value))


def _fix(machine: HasState, result: ProposedResult) -> None:
    fix_result(machine, result.by, result.value)


def fix_result(machine: HasState, by: int | str | None, value: object) -> None:
    """Set the result of the execution. `by` is a run, the id of an `end()`, or None for a caller."""
    machine.state.result = value
    if machine.state.keep_open:
        machine.out.append(ResultFixed(by))


def _drop(machine: HasState, result: ProposedResult) -> None:
    """Report a result that is dropped because the execution has another one."""
    fixed = machine.state.result
    if fixed is UNSET or result.is_nothing:
        return
    if fixed is not result.value and equals(fixed, result.value) is not True:
        machine.out.append(ResultDropped(result.chunk))
