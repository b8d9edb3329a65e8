"""Law 4, any order: completions in any order give the same result; nothing is lost, doubled or left behind."""

import asyncio
import re
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.core import invariants
from tests.core.flows import Program, program, programs
from tests.core.simulation import Effect, Simulation, in_order_of, text
from tests.virtual_time import virtual_loop
from triggerflow._core import events
from triggerflow._core.state import RunChunk

SEEDS = st.integers(0, 10_000)
ENDINGS = (events.Completed, events.Failed, events.Cancelled, events.Paused)


def without_numbers(value: Any) -> str:
    """A value as text. A failure record tells the id of an interrupt, and with it the number of a run, which depends on
    the order."""
    return re.sub(r"(interrupt '\w+):\d+'", r"\1'", text(value))


def outcome(simulation: Simulation) -> tuple[str, str]:
    state = simulation.machine.state
    has_result = state.result is not None and not_unset(state.result)
    result = without_numbers(state.result) if has_result else repr(state.result)
    return state.status.value, result


def not_unset(value: Any) -> bool:
    return type(value).__name__ != "Unset"


def runs(simulation: Simulation) -> Counter[tuple[Any, ...]]:
    """What ran, and where, whatever the order: operator, value and position in each enclosing block."""
    return Counter(
        (
            run.node.id,
            without_numbers(run.value),
            tuple((name, index) for name, _, index in run.scope.path) if run.scope else (),
        )
        for it in simulation.all()
        for run in it.issued
    )


# -- the same result -------------------------------------------------------------------------------------------------


@given(programs("ordered"), SEEDS)
def test_any_order_gives_the_same_result_and_the_same_runs(program: Program, seed: int) -> None:
    first = program.simulate()
    other = program.simulate(in_order_of(seed))
    last = program.simulate(lambda count: count - 1)
    assert outcome(first) == outcome(other) == outcome(last)
    assert runs(first) == runs(other) == runs(last)


@given(programs("plain"))
def test_the_driver_on_asyncio_gives_that_result_too(program: Program) -> None:
    simulated = program.simulate()

    async def live() -> Any:
        start = program.start
        execution = program.flow.create_execution(
            concurrency=start.concurrency, skip_exceptions=start.skip_exceptions, max_pending=start.max_pending
        )
        execution.begin(start.value)
        return await execution.async_close(), execution.get_status()

    with asyncio.Runner(loop_factory=virtual_loop) as runner:
        result, status = runner.run(live())
    expected = simulated.machine.state.result
    assert status == simulated.machine.state.status
    assert text(result) == (text(expected) if not_unset(expected) else "null")


# -- nothing is lost, doubled or left behind -------------------------------------------------------------------------


@given(programs(), SEEDS)
def test_the_counters_hold_after_every_record(program: Program, seed: int) -> None:
    program.simulate(in_order_of(seed), watch=invariants.watch)


@given(programs(), SEEDS)
def test_every_execution_ends_and_so_does_every_run_once(program: Program, seed: int) -> None:
    simulation = program.simulate(in_order_of(seed))
    given_up = any(isinstance(event, events.CleanupTimedOut) for it in simulation.all() for event in it.records)
    for it in simulation.all():
        assert it.close is not None, it.machine.state.status
        begun = Counter(entry[1] for answer in it.answers for entry in answer if entry[0] == "RunChunk")
        ended = Counter(getattr(event, "run", None) for event in it.records if ends(event))
        assert ended <= begun if given_up else ended == begun
        attempts = [entry[1::6] for answer in it.answers for entry in answer if entry[0] == "RunChunk"]
        assert len(set(attempts)) == len(attempts), "a run was commanded twice"


def ends(event: events.Event) -> bool:
    """Whether this record ends a run; a question of a sub-flow does not."""
    return isinstance(event, ENDINGS) and not (isinstance(event, events.Paused) and event.holds)


@given(programs(), SEEDS)
def test_a_run_that_never_began_is_not_cancelled(program: Program, seed: int) -> None:
    for it in program.simulate(in_order_of(seed)).all():
        issued = {run.id for run in it.issued}
        cancelled = {entry[1] for answer in it.answers for entry in answer if entry[0] == "CancelRun"}
        assert cancelled <= issued


# -- limits ----------------------------------------------------------------------------------------------------------


def bounds(simulation: Simulation, run: RunChunk, concurrency: int | None) -> list[tuple[Any, int]]:
    """The limits that bind a run, read from the definition and not from the core's own books. A run in a sub-flow is
    also bound by what binds its step."""
    by_id, outer = simulation.plan.definition.by_id, []
    limit = concurrency
    if simulation.around is not None and simulation.step is not None:
        outer = bounds(simulation.around, simulation.step, concurrency)
        limit = simulation.step.node.operator.options.get("child_concurrency")
    found: list[tuple[Any, int | None]] = [("execution", limit)]
    found.append((run.node.trigger, run.node.operator.options.get("concurrency")))
    for operator, opening, _ in run.scope.path if run.scope else ():
        found.append((opening, by_id[operator].options.get("concurrency")))
    return outer + [((id(simulation), name), limit) for name, limit in found if limit is not None]


def running(simulation: Simulation) -> list[RunChunk]:
    """The chunks that run and do not wait for their own signals. A step is none: it waits for what is inside it."""
    waiting = {run for number, run in simulation.waits.items() if number not in simulation.told}
    return [
        task.run
        for task in simulation.tasks.values()
        if task.run.id not in waiting and not task.cancelled and task.inner is None
    ]


def check_limits(simulation: Simulation, concurrency: int | None) -> None:
    """No bound is exceeded, by the chunks of the execution and its sub-flows together."""
    if simulation.around is not None:
        return
    taken = Counter(bound for it in simulation.tree() for run in running(it) for bound in bounds(it, run, concurrency))
    for (name, limit), count in taken.items():
        assert count <= limit, f"{count} run at once, and {name} allows {limit}"


@given(programs(), SEEDS)
def test_no_limit_is_exceeded_at_any_depth(program: Program, seed: int) -> None:
    concurrency = program.start.concurrency
    program.simulate(in_order_of(seed), watch=lambda it: check_limits(it, concurrency))


# -- settling --------------------------------------------------------------------------------------------------------


class Settling:
    """Follows cause and effect through the records: run -> the records it wrote -> the runs they caused."""

    def __init__(self) -> None:
        self.told = 0
        self.waits: dict[int, int | None] = {}

    def __call__(self, simulation: Simulation) -> None:
        if simulation.around is not None:
            return
        for number in simulation.told[self.told :]:
            # The record that settled it may have begun other work since, which is not of this wait.
            left = [run for run in caused_by(simulation, number) if run in simulation.tasks]
            assert not left, f"wait {number} was settled while {left} still ran"
        self.told = len(simulation.told)


def caused_by(simulation: Simulation, number: int) -> set[int]:
    """The runs that a record has caused, and those that they have caused, and so on."""
    records, found, front = simulation.records, set[int](), {number}
    while front:
        caused = {run.id for run in simulation.issued if run.signal in front} - found
        found |= caused
        front = {index for index, record in enumerate(records) if getattr(record, "run", None) in caused}
    return found


@given(programs(), SEEDS)
def test_a_settling_signal_settles_once_and_not_too_early(program: Program, seed: int) -> None:
    program.start = program.start.__class__(**{**vars(program.start), "max_pending": 1024})
    simulation = program.simulate(in_order_of(seed), watch=Settling())
    assert len(set(simulation.told)) == len(simulation.told), "a wait was told twice"
    ended = {getattr(event, "run", None) for event in simulation.records}
    for number, run in simulation.waits.items():
        assert number in simulation.told or run in ended or run is None
        # What waits outside is told by the end of the execution, at the latest.
        assert number in simulation.told or run is not None or simulation.close is not None


def test_fifty_signals_at_once_into_one_batch_do_not_mix() -> None:
    def build(flow: Any, chunk: Any) -> None:
        emits = [Effect("emit", "go", number) for number in range(50)]
        flow.to(chunk("source", "none", *emits))
        flow.when("go").batch(chunk("left"), chunk("right")).to(chunk("joined", "same", Effect("put")))

    for seed in range(20):
        simulation = program(build).simulate(in_order_of(seed))
        assert sorted(item["left"] for item in simulation.stream) == list(range(50))
        assert all(item["left"] == item["right"] for item in simulation.stream)
