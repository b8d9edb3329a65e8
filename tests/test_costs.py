"""S10, S3 and the rule of the house: no cost per item, per signal or per run grows with what is open beside it.

What is counted are the lines that the engine executes, per item: with sixteen times as many items open they must not
become more. A loop over everything that is open shows as a multiple.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, ClassVar

import msgspec
import pytest

import triggerflow
from tests.support import turns
from tests.virtual_time import VirtualTimeLoop
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ContractError
from triggerflow.extension import runtime_of
from triggerflow.stores import MemoryStore

Data = TriggerFlowRuntimeData[Any]
Scenario = Callable[[int], Coroutine[Any, Any, None]]

FEW, MANY = 100, 1600
#: more than any plain run has open at once
NO_LIMIT = 10**6
ENGINE = str(Path(triggerflow.__file__).parent)


@contextmanager
def counting_lines() -> Iterator[list[int]]:
    """The number of lines of the engine that are executed inside, as the only item of the list."""
    count = [0]

    def line(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            count[0] += 1
        return line

    def call(frame: FrameType, event: str, arg: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(ENGINE) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield count
    finally:
        sys.settrace(before)


def lines_per_item(scenario: Scenario, items: int) -> float:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, counting_lines() as count:
        runner.run(scenario(items))
    return count[0] / items


async def echo(data: Data) -> Any:
    return data.value


async def sleep(data: Data) -> None:
    await asyncio.sleep(1000)


async def turn(data: Data) -> None:
    await asyncio.sleep(0)


def emitting(*, settle: bool = False) -> Any:
    async def emit(data: Data) -> None:
        await data.async_emit("work", data.value, settle=settle)

    return emit


# -- who waits ---------------------------------------------------------------------------------------------------------


async def settling_emitters_under_a_limit(count: int) -> None:
    flow = TriggerFlow()
    flow.for_each().to(emitting(settle=True)).end_for_each()
    flow.when("work").to(turn)
    await flow.create_execution(concurrency=10, max_pending=NO_LIMIT).async_start(range(count))


async def one_emitter_that_waits_many_times(count: int) -> None:
    flow = TriggerFlow()

    async def emit(data: Data) -> None:
        await asyncio.gather(*(data.async_emit("work", number, settle=True) for number in range(count)))

    flow.to(emit)
    flow.when("work").to(turn)
    await flow.create_execution(concurrency=10, max_pending=NO_LIMIT).async_start()


async def one_emitter_under_back_pressure(count: int) -> None:
    flow = TriggerFlow()

    async def emit(data: Data) -> None:
        await asyncio.gather(*(data.async_emit("work", number) for number in range(count)))

    flow.to(emit)
    flow.when("work").to(turn)
    await flow.create_execution(max_pending=10).async_start()


async def settling_from_outside(count: int) -> None:
    flow = TriggerFlow()
    flow.signal("work", external=True)
    flow.when("work").to(turn)
    execution = flow.create_execution()
    execution.begin()
    await asyncio.gather(*(execution.async_emit("work", number, settle=True) for number in range(count)))
    await execution.async_close()


async def sources_that_are_waited_for(count: int) -> None:
    flow = TriggerFlow()

    async def source(data: Data) -> Any:
        return iter([data.value])

    flow.for_each().to(emitting(settle=True)).end_for_each()
    flow.when("work").to(source).for_each().to(turn).end_for_each()
    await flow.create_execution(max_pending=NO_LIMIT).async_start(range(count))


# -- what ends before its time -----------------------------------------------------------------------------------------


async def cancelling_what_is_ready(count: int) -> None:
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        for number in range(count):
            data.emit("work", number)
        raise ValueError("broken")

    flow.to(source)
    flow.when("work").to(echo)
    await asyncio.gather(flow.async_start(), return_exceptions=True)


async def cancelling_what_runs(count: int) -> None:
    flow = TriggerFlow()
    flow.for_each().to(sleep).end_for_each()
    execution = flow.create_execution(max_pending=NO_LIMIT)
    execution.begin(range(count))
    await turns(50)
    await execution.async_cancel()


async def cancelling_who_waits(count: int) -> None:
    flow = TriggerFlow()
    flow.for_each().to(emitting(settle=True)).end_for_each()
    flow.when("work").to(sleep)
    execution = flow.create_execution(max_pending=NO_LIMIT)
    execution.begin(range(count))
    await turns(50)
    await execution.async_cancel()


async def cancelling_what_queues(count: int) -> None:
    flow = TriggerFlow()
    flow.for_each().to(sleep).end_for_each()
    execution = flow.create_execution(concurrency=2, max_pending=NO_LIMIT)
    execution.begin(range(count))
    await execution.async_cancel()


# -- joins -------------------------------------------------------------------------------------------------------------


async def half_filled_whens(count: int) -> None:
    flow = TriggerFlow()
    first, second = flow.chunk("first")(echo), flow.chunk("second")(echo)
    flow.for_each(concurrency=5).to(first).match().case(-1).to(second).end_match().end_for_each()
    flow.when([first, second]).to(("joined", echo))
    await flow.async_start(range(count))


async def half_filled_whens_all_at_once(count: int) -> None:
    flow = TriggerFlow()
    first, second = flow.chunk("first")(turn), flow.chunk("second")(echo)
    flow.for_each().to(first).match().case(-1).to(second).end_match().end_for_each()
    flow.when([first, second]).to(("joined", echo))
    await flow.create_execution(max_pending=NO_LIMIT).async_start(range(count))


async def collections_per_item(count: int) -> None:
    flow = TriggerFlow()
    item = flow.for_each()
    item.to(("left", echo)).collect("both", "left")
    item.to(("right", turn)).collect("both", "right").end_for_each()
    await flow.create_execution(max_pending=NO_LIMIT).async_start(range(count))


async def passes_that_are_retracted_with_their_joins(count: int) -> None:
    flow = TriggerFlow()

    async def guess(data: Data) -> None:
        numbers = [await data.async_emit("work", number, provisional=True) for number in range(count)]
        await turns(50)
        for number in numbers:
            await data.async_retract(number, "wrong")

    flow.to(guess)
    item = flow.when("work").for_each()
    item.to(("left", echo)).collect("both", "left")
    item.to(("right", sleep)).collect("both", "right").end_for_each()
    await flow.create_execution(max_pending=NO_LIMIT).async_start()


# -- provisional signals -----------------------------------------------------------------------------------------------


def retracting(work: Any, *, concurrency: int | None = None, **options: Any) -> Scenario:
    """Many guesses, each with some work of its own, taken back one after another, the last one first."""

    async def scenario(count: int) -> None:
        flow = TriggerFlow()

        async def guess(data: Data) -> None:
            numbers = [await data.async_emit("work", it, provisional=True, **options) for it in range(count)]
            await turns(50)
            for number in reversed(numbers):
                await data.async_retract(number, "wrong")

        flow.to(guess)
        flow.when("work").to(flow.chunk("work", retry=Retry(3, initial_interval=100))(work))
        execution = flow.create_execution(concurrency=concurrency, max_pending=NO_LIMIT)
        execution.begin()
        await execution.async_close()

    return scenario


async def fails(data: Data) -> None:
    raise ValueError("broken")


async def asks(data: Data) -> None:
    data.pause_for()


async def retracting_beside_much_that_runs(count: int) -> None:
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        for number in range(count):
            await data.async_emit("beside", number)
        await turns(50)
        for number in range(count):
            await data.async_retract(await data.async_emit("work", number, provisional=True), "wrong")
        raise ValueError("enough")

    flow.to(source)
    flow.when("work").to(("work", sleep))
    flow.when("beside").to(("beside", sleep))
    execution = flow.create_execution(max_pending=NO_LIMIT)
    await asyncio.gather(execution.async_start(), return_exceptions=True)


async def guesses_that_nobody_decides_on(count: int) -> None:
    flow = TriggerFlow()

    async def guess(data: Data) -> None:
        for number in range(count):
            await data.async_emit("work", number, provisional=True)

    flow.to(guess)
    flow.when("work").to(echo)
    await flow.create_execution(max_pending=NO_LIMIT).async_start()


# -- timers, questions, sub-flows --------------------------------------------------------------------------------------


async def delayed_signals(count: int) -> None:
    flow = TriggerFlow()

    async def source(data: Data) -> None:
        for number in range(count):
            await data.async_emit("work", number, delay=1 + number)

    flow.to(source)
    flow.when("work").to(echo)
    await flow.create_execution(max_pending=NO_LIMIT).async_start()


async def delayed_signals_of_a_durable_execution(count: int) -> None:
    flow = TriggerFlow(name="durable")

    @flow.chunk("source")
    async def source(data: Data) -> None:
        for number in range(count):
            await data.async_emit("work", number, delay=1 + number)

    flow.to(source)
    flow.when("work").to(flow.chunk("work")(echo))
    async with MemoryStore() as store:
        await flow.create_execution(store=store, max_pending=NO_LIMIT).async_start()


async def questions(count: int) -> None:
    flow = TriggerFlow()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id=f"q{data.value}")

    flow.for_each().to(ask).to(echo).end_for_each()
    execution = flow.create_execution(max_pending=NO_LIMIT)
    execution.begin(range(count))
    await turns(50)
    for number in range(count):
        await execution.async_continue_with(f"q{number}")
    await execution.async_close()


async def chunks_of_one_sub_flow(count: int) -> None:
    child, flow = TriggerFlow(name="child"), TriggerFlow()
    child.for_each().to(turn).end_for_each()
    flow.to_sub_flow(child)
    await flow.create_execution(concurrency=10, max_pending=NO_LIMIT).async_start([*range(count)])


async def chunks_of_one_sub_flow_all_at_once(count: int) -> None:
    child, flow = TriggerFlow(name="child"), TriggerFlow()
    child.for_each().to(turn).end_for_each()
    flow.to_sub_flow(child)
    await flow.create_execution(concurrency=NO_LIMIT, max_pending=NO_LIMIT).async_start([*range(count)])


async def sub_flows(count: int) -> None:
    child, flow = TriggerFlow(name="child"), TriggerFlow()
    child.to(turn)
    flow.for_each().to_sub_flow(child).end_for_each()
    await flow.create_execution(concurrency=10, max_pending=NO_LIMIT).async_start([*range(count)])


async def waiting_for_the_result(count: int) -> None:
    flow = TriggerFlow()
    flow.to(turn).end()
    execution = flow.create_execution()
    execution.begin()
    for _ in range(2):  # those that have left cost the others nothing
        leaving = [asyncio.ensure_future(execution.async_get_result()) for _ in range(count)]
        await asyncio.sleep(0)
        for one in leaving:
            one.cancel()
    await asyncio.gather(*(execution.async_get_result() for _ in range(count)))


# -- state -------------------------------------------------------------------------------------------------------------


async def appending(count: int) -> None:
    flow = TriggerFlow()

    async def append(data: Data) -> None:
        for number in range(count):
            data.state.append("log", number)

    flow.to(append)
    await flow.async_start()


async def test_appending_grows_a_list_in_place_until_somebody_has_it() -> None:
    """A list that is copied for every item costs its length each time, and no line shows that."""
    flow, lists = TriggerFlow(), list[int]()
    flow.to(echo)
    execution = flow.create_execution()
    execution.begin()
    for number in range(10):
        execution.state.append("log", number)
        lists.append(id(runtime_of(execution).machine.state.data["log"]))
    assert len(set(lists)) == 1
    read = execution.state["log"]
    execution.state.append("log", 10)
    assert (read, execution.state["log"]) == ([*range(10)], [*range(11)])
    await execution.async_close()


@dataclass
class Hit:
    """Counts how often one is made."""

    score: int
    made: ClassVar[int] = 0

    def __post_init__(self) -> None:
        Hit.made += 1


@dataclass
class Model:
    """A state whose keys are lists, with and without a demand on the whole."""

    hits: list[Hit] = field(default_factory=list[Hit])
    few: Annotated[list[int], msgspec.Meta(max_length=2)] = field(default_factory=list[int])


async def test_appending_to_typed_state_checks_the_item_alone_where_the_type_allows() -> None:
    flow = TriggerFlow()
    flow.set_state(Model)
    flow.to(echo)
    execution = flow.create_execution()
    execution.begin()
    for number in range(100):
        execution.state.append("hits", {"score": number})
    assert Hit.made == 100
    with pytest.raises(ContractError, match="Expected `int`, got `str`"):
        execution.state.append("hits", {"score": "x"})
    execution.state.append("few", 1)
    execution.state.append("few", 2)
    with pytest.raises(ContractError, match="length <= 2"):
        execution.state.append("few", 3)
    await execution.async_close()


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        settling_emitters_under_a_limit,
        one_emitter_that_waits_many_times,
        one_emitter_under_back_pressure,
        settling_from_outside,
        sources_that_are_waited_for,
        cancelling_what_is_ready,
        cancelling_what_runs,
        cancelling_who_waits,
        cancelling_what_queues,
        half_filled_whens,
        half_filled_whens_all_at_once,
        collections_per_item,
        passes_that_are_retracted_with_their_joins,
        retracting_beside_much_that_runs,
        guesses_that_nobody_decides_on,
        delayed_signals,
        delayed_signals_of_a_durable_execution,
        questions,
        chunks_of_one_sub_flow,
        chunks_of_one_sub_flow_all_at_once,
        sub_flows,
        waiting_for_the_result,
        appending,
    )
}
SCENARIOS |= {
    "retracting what runs": retracting(sleep),
    "retracting what is ready": retracting(sleep, concurrency=NO_LIMIT),
    "retracting what queues": retracting(sleep, concurrency=1),
    "retracting what is due later": retracting(echo, delay=1000),
    "retracting what failed and is tried again": retracting(fails),
    "retracting what asks": retracting(asks),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_cost_grows_with_what_is_open(name: str, caplog: pytest.LogCaptureFixture) -> None:
    few, many = (lines_per_item(SCENARIOS[name], count) for count in (FEW, MANY))
    assert many < 1.3 * few, f"{many:.0f} lines an item with {MANY} of them open, {few:.0f} with {FEW}"
