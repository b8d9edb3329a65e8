"""The result of an execution that comes from a provisional signal: it is taken back with the signal."""

import asyncio
from typing import Any

import pytest

from tests.support import now, read
from triggerflow import Retry, TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ContractError

Data = TriggerFlowRuntimeData[Any]


def guessing(*decisions: str, seconds: float = 5) -> TriggerFlow:
    """A flow whose first chunk emits "go" with 1, 2, ... provisionally, and decides on each `seconds` later."""
    flow = TriggerFlow("guessing")

    @flow.chunk("source")
    async def source(data: Data) -> None:
        numbers: list[int] = []
        for n in range(1, len(decisions) + 1):
            numbers.append(await data.async_emit("go", n, provisional=True))
            await asyncio.sleep(0.1)
        for number, decision in zip(numbers, decisions, strict=True):
            await asyncio.sleep(seconds)
            if decision == "confirm":
                await data.async_confirm(number)
            elif decision == "retract":
                await data.async_retract(number, "wrong")
            elif decision == "fail":
                await data.async_retract(number, "wrong")
                raise ValueError("no answer")

    flow.to(source)
    return flow


async def echo(data: Data) -> Any:
    return data.value


async def set_it(data: Data) -> None:
    await data.async_set_result(data.value)


async def set_it_instead(data: Data) -> None:
    await data.async_set_result(data.value, replace=True)


def wire(flow: TriggerFlow, how: str) -> None:
    """Let what "go" starts give the result."""
    work = flow.when("go")
    if how == "end":
        work.to(echo).end()
    elif how == "set":
        work.to(set_it)
    elif how == "replace":
        work.to(set_it_instead)
    elif how == "state":
        work.to(lambda data: data.state.set("k", data.value))
        flow.when({"runtime_data": "k"}).to(echo).end()
    elif how == "emit":
        work.to(lambda data: data.emit("next", data.value))
        flow.when("next").to(echo).end()
    elif how == "delay":
        work.to(lambda data: data.emit("next", data.value, delay=1))
        flow.when("next").to(echo).end()
    elif how == "block":
        work.to(lambda data: [data.value]).for_each().to(echo).end_for_each().to(lambda data: data.value[0]).end()
    elif how == "sub-flow":
        sub = TriggerFlow("sub")
        sub.to(set_it)
        work.to(sub).end()
    elif how == "route":

        @flow.chunk("broken")
        async def broken(data: Data) -> None:
            raise ValueError(str(data.value))

        work.to(broken)
        flow.when({"error": broken}).to(lambda data: int(data.value["message"])).end()


WAYS = ["end", "set", "replace", "state", "emit", "delay", "block", "sub-flow", "route"]


@pytest.mark.parametrize("how", WAYS)
async def test_the_result_of_a_retracted_signal_is_taken_back(how: str) -> None:
    flow = guessing("retract")
    wire(flow, how)
    assert await flow.async_start() is None


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("decision", ["confirm", "nothing"])
async def test_the_result_of_a_signal_that_stands_counts(how: str, decision: str) -> None:
    flow = guessing(decision)
    wire(flow, how)
    assert await flow.async_start() == 1


@pytest.mark.parametrize("how", WAYS)
async def test_another_result_counts_instead(how: str) -> None:
    """Of the results that are not taken back the first one counts; also one of an error route, and one from outside."""
    flow = guessing("retract", "confirm")
    wire(flow, how)
    assert await flow.async_start() == 2
    flow = guessing("fail")
    wire(flow, how)
    flow.when({"error": "source"}).to(lambda data: "sorry").end()
    assert await flow.async_start() == "sorry"


@pytest.mark.parametrize(
    ("decisions", "result"),
    [
        (("confirm", "confirm"), 1),
        (("nothing", "confirm"), 1),
        (("retract", "retract", "confirm"), 3),
        (("retract", "nothing"), 2),
        (("confirm", "retract"), 1),
        (("retract", "retract"), None),
    ],
)
async def test_the_first_one_counts_that_is_not_taken_back(decisions: tuple[str, ...], result: Any) -> None:
    flow = guessing(*decisions)
    wire(flow, "end")
    assert await flow.async_start() == result


@pytest.mark.parametrize(("decision", "result"), [("confirm", 1), ("retract", "after")])
async def test_a_certain_result_waits_for_one_that_came_before_it(decision: str, result: Any) -> None:
    flow = guessing(decision)
    wire(flow, "end")
    flow.to(lambda data: asyncio.sleep(2)).to(lambda data: "after").end()
    assert await flow.async_start() == result


@pytest.mark.parametrize(("decision", "result"), [("confirm", 1), ("retract", "before")])
async def test_a_replacement_that_is_taken_back_leaves_what_it_has_replaced(decision: str, result: Any) -> None:
    flow = guessing(decision)
    flow.when("go").to(lambda data: asyncio.sleep(2, data.value)).to(set_it_instead)
    flow.to(lambda data: "before").end()
    assert await flow.async_start() == result


async def test_a_certain_replacement_counts_whatever_is_proposed() -> None:
    flow = guessing("confirm")
    wire(flow, "end")
    flow.to(lambda data: asyncio.sleep(2, "replaced")).to(set_it_instead)
    assert await flow.async_start() == "replaced"


@pytest.mark.parametrize(
    ("inner", "outer", "result"),
    [
        ("confirm", "confirm", 1),
        ("confirm", "retract", None),
        ("retract", "confirm", None),
        ("nothing", "retract", None),
    ],
)
async def test_a_signal_inside_of_a_signal(inner: str, outer: str, result: Any) -> None:
    """A result counts when all the signals around it stand."""
    flow = guessing(outer, seconds=10)

    async def again(data: Data) -> None:
        number = await data.async_emit("inner", data.value, provisional=True)
        await asyncio.sleep(2)
        if inner == "confirm":
            await data.async_confirm(number)
        elif inner == "retract":
            await data.async_retract(number, "no")

    flow.when("go").to(again)
    flow.when("inner").to(echo).end()
    assert await flow.async_start() == result


@pytest.mark.parametrize(("decision", "seconds"), [("confirm", 5.1), ("nothing", 5.1)])
async def test_a_caller_of_a_kept_open_execution_waits_for_the_decision(decision: str, seconds: float) -> None:
    flow = guessing(decision)
    wire(flow, "end")
    execution = flow.create_execution(keep_open=True)
    assert await execution.async_start() == 1
    assert now() == pytest.approx(seconds)
    await execution.async_close()


async def test_a_result_of_the_wrong_type_is_no_failure_once_it_is_taken_back() -> None:
    def made(decision: str) -> TriggerFlow:
        flow = guessing(decision, "confirm")
        flow.set_contract(result=int)
        flow.when("go").to(lambda data: "one" if data.value == 1 else data.value).end()
        return flow

    assert await made("retract").async_start() == 2
    with pytest.raises(ContractError, match="result"):
        await made("confirm").async_start()


async def test_what_retracted_work_sets_in_its_clean_up_does_not_count() -> None:
    flow = guessing("retract")

    async def clean(data: Data) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await data.async_set_result("from the clean-up")

    flow.when("go").to(clean)
    assert await flow.async_start() is None


async def test_a_later_attempt_replaces_the_proposed_result_of_the_first() -> None:
    flow = guessing("confirm", seconds=20)

    @flow.chunk("work", retry=Retry(3, initial_interval=1))
    async def work(data: Data) -> None:
        await data.async_set_result(f"attempt {data.attempt}")
        if data.attempt < 3:
            raise ValueError("again")

    flow.when("go").to(work)
    assert await flow.async_start() == "attempt 3"


@pytest.mark.parametrize(
    ("decisions", "result"), [(("confirm",), 1), (("retract",), None), (("retract", "confirm"), 2)]
)
@pytest.mark.parametrize("how", ["end", "replace"])
async def test_a_proposed_result_is_saved(decisions: tuple[str, ...], result: Any, how: str) -> None:
    flow = guessing(*decisions)
    wire(flow, how)
    execution = flow.create_execution()
    await execution.async_begin()
    await asyncio.sleep(2)
    saved = execution.save()
    await execution.async_cancel()
    assert await flow.load_execution(saved).async_get_result() == result


async def test_an_execution_that_waits_for_events_ends_with_a_result_that_nobody_takes_back() -> None:
    flow = guessing("nothing")
    wire(flow, "end")
    flow.signal("other", external=True)
    flow.when("other").to(echo)
    assert await flow.async_start(timeout=100) == 1
    assert await read(flow.get_async_runtime_stream()) == []
