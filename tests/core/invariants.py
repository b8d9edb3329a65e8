"""What must hold between any two records, counted again from the runs themselves."""

from collections import Counter
from collections.abc import Iterator

from tests.core.simulation import Simulation
from triggerflow._core.machine import FINAL
from triggerflow._core.state import (
    READY,
    RUNNING,
    WAITING,
    CompletionGroup,
    Limiter,
    RunChunk,
    RunState,
    Status,
    SubFlowPermit,
    Timer,
)


def check(state: RunState) -> None:
    """Raise `AssertionError` if a counter of the state disagrees with what it counts."""
    assert all(number == run.id < state.next_id for number, run in state.runs.items())
    if state.status in FINAL:
        assert not state.runs, "an execution that has ended has no run"
        return
    if state.closing is not None:
        return
    if state.status is Status.WAITING:
        assert not state.runs, "an execution that waits for the outside has no run"
    check_limits(state)
    check_groups(state)
    for number, wait in (state.waits or {}).items():
        run = wait.run
        assert run is None or any(it is run for it in _going_on(state)), (
            f"wait {number} belongs to a run that has ended"
        )
    check_timers(state)
    for number, early in (state.early or {}).items():
        assert number in state.runs, f"run {number} has ended, and still gives items"
        assert early.signal in (state.provisional or {}), f"the items of run {number} cannot be taken back any more"
        assert all(it.giver == number for it in early.instances)


def check_timers(state: RunState) -> None:
    """Timers are counted and found by what they are."""
    timers = (state.timers or {}).values()
    for timer in timers:
        assert timer.run is None or timer.run in state.runs
    assert state.deadlines == sum(it.what == "deadline" for it in timers)
    assert state.loose == sum(not it.keeps_open for it in timers)
    if state.delayed is not None:
        names = {name for it in timers if it.what == "signal" for name in (it.name, it.label) if name}
        assert names == state.delayed.keys()
        for name, numbers in state.delayed.items():
            assert [*numbers] == [it.id for it in timers if it.what == "signal" and name in (it.name, it.label)]


def check_limits(state: RunState) -> None:
    """A limiter's places are those of its running runs; whoever queues could not start; nobody queues twice."""
    limiters = {id(limiter): limiter for limiter in _limiters(state)}
    permits = state.sub_flow_permits or {}
    inside: list[RunChunk | SubFlowPermit] = [*_going_on(state), *permits.values()]
    used = Counter(id(limiter) for it in inside if it.phase is RUNNING for limiter in it.limiters)
    queued: Counter[int] = Counter()
    for key, limiter in limiters.items():
        assert limiter.used == used[key] <= limiter.limit, f"{limiter.used} of {limiter.limit}, in truth {used[key]}"
        assert not limiter.queue or limiter.used == limiter.limit, "somebody queues beside a free place"
        queued.update(run.id for run in limiter.queue)
    known = {**state.runs, **(state.retracted or {}), **permits}
    for number, count in queued.items():
        assert count == 1, f"run {number} queues {count} times"
        assert number in known, f"run {number} queues and has ended"
        assert known[number].phase in (READY, WAITING)
    for permit in permits.values():
        assert permit.step in _going_on(state), f"sub-flow permit {permit.id} has outlived its step"
        assert permit.phase is RUNNING or permit.id in queued, (
            f"sub-flow permit {permit.id} waits for a permit, in no queue"
        )
    if state.grant is not None:
        assert state.grant.held == state.grant.used == state.grant.limit, "a place that is not used was kept"
        assert state.grant.asked >= len(state.grant.queue), "somebody queues for a place that was not asked for"
    for run in state.runs.values():
        assert run.phase is not READY or run.id in queued, f"{run} waits for a permit, in no queue"


def check_groups(state: RunState) -> None:
    """A group counts its unfinished runs, delayed signals, sources that are being asked, and its busy child groups."""
    groups = {id(group): group for group in _groups(state)}
    members = [*_going_on(state), *_held_open(state)]
    members += [it for it in (state.block_instances or {}).values() if it.pulling]
    live = Counter(id(it.group) for it in members if it.group is not None)
    busy = [group for key, group in groups.items() if live[key]]
    while busy:
        parent = busy.pop().parent
        if parent is not None:
            live[id(parent)] += 1
            if live[id(parent)] == 1:
                busy.append(parent)
    for key, group in groups.items():
        assert group.live == live[key], f"a group counts {group.live}, in truth {live[key]}"


def _going_on(state: RunState) -> list[RunChunk]:
    """The runs, with those that were retracted and have not stopped."""
    return [*state.runs.values(), *(state.retracted or {}).values()]


def _held_open(state: RunState) -> list[Timer]:
    """The timers of the delayed signals that something waits for."""
    return [it for it in (state.timers or {}).values() if it.what == "signal" and it.keeps_open]


def _limiters(state: RunState) -> Iterator[Limiter]:
    yield from state.limiters
    yield from (state.chunk_limiters or {}).values()
    for instance in (state.block_instances or {}).values():
        yield from instance.limiters
    for it in (*state.runs.values(), *(state.sub_flow_permits or {}).values()):
        yield from it.limiters


def _groups(state: RunState) -> Iterator[CompletionGroup]:
    starts = [group for run in _going_on(state) for group in (run.group, run.spawned)]
    starts += [instance.group for instance in (state.block_instances or {}).values()]
    starts += [timer.group for timer in (state.timers or {}).values()]
    for start in starts:
        group = start
        while group is not None:
            yield group
            group = group.parent


def watch(simulation: Simulation) -> None:
    """For `Simulation.watch`."""
    check(simulation.machine.state)
