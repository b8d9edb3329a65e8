"""The contract's line on conditions (S12): sync or async, by truthiness, each callable for itself."""

import asyncio
from typing import Any

import pytest

from tests.support import drain, now
from triggerflow import TriggerFlow, TriggerFlowRuntimeData

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


def labelled(label: str) -> Any:
    async def chunk(data: Data) -> str:
        return label

    return label, chunk


class Truth:
    """Neither True nor False, and it cannot be compared."""

    def __init__(self, truth: bool) -> None:
        self.truth = truth

    def __bool__(self) -> bool:
        return self.truth

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = object.__hash__


@pytest.mark.parametrize("answer", [True, 5, "no", [0], object(), Truth(True), False, 0, "", [], None, Truth(False)])
@pytest.mark.parametrize("kind", ["sync", "async", "awaitable"])
async def test_s12_truthiness_decides(answer: Any, kind: str) -> None:
    """S12: "Conditions may be sync or async; truthiness decides"."""
    flow = TriggerFlow()

    async def ask(data: Data) -> Any:
        await asyncio.sleep(1)
        return answer

    condition = {"sync": lambda data: answer, "async": ask, "awaitable": lambda data: ask(data)}[kind]
    flow.to(echo).match().case(condition).to(labelled("yes")).case_else().to(labelled("no")).end_match().end()
    assert await flow.async_start() == ("yes" if answer else "no")
    assert now() == (0 if kind == "sync" else 1)


@pytest.mark.parametrize("mode", ["hit_first", "hit_all"])
@pytest.mark.parametrize("value", [1, 2, 3])
async def test_s12_each_callable_is_its_own_condition(value: int, mode: Any) -> None:
    """S12: "each callable is its own condition, two lambdas on one line too."; so are two methods of one class."""
    flow = TriggerFlow()
    cases = [(lambda data: data.value == 1, "one"), (lambda data: data.value == 2, "two"), (lambda data: True, "all")]
    process = flow.to(echo).match(mode=mode)
    for condition, label in cases:
        process = process.case(condition).to(labelled(label))
    process.end_match().end()
    hits = {1: ["one", "all"], 2: ["two", "all"], 3: ["all"]}[value]
    assert await flow.async_start(value) == (hits if mode == "hit_all" else hits[0])


async def test_s12_one_callable_in_two_places_is_asked_in_both() -> None:
    """S12: a condition belongs to its case, not to its function."""
    flow, asked = TriggerFlow(), list[Any]()

    def positive(data: Data) -> bool:
        asked.append(data.value)
        return data.value > 0

    async def negate(data: Data) -> Any:
        return -data.value

    first = flow.to(echo).match().case(positive).to(negate).end_match()
    first.match().case(positive).to(labelled("positive")).case_else().to(labelled("other")).end_match().end()
    assert await flow.async_start(3) == "other"
    assert await flow.async_start(-3) == "other"
    assert asked == [3, -3, -3, -3]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_s12_an_exception_in_a_condition_fails_the_execution(kind: str) -> None:
    """S12 with S7: it reaches waiters and readers as it is, and names the condition."""
    error, flow = ValueError("broken"), TriggerFlow()

    def broken(data: Data) -> bool:
        raise error

    async def broken_async(data: Data) -> bool:
        raise error

    flow.to(echo).match().case(broken if kind == "sync" else broken_async).to(labelled("never")).end_match().end()
    execution = flow.create_execution()
    assert await drain(execution.get_async_runtime_stream("go")) == ([], error)
    with pytest.raises(ValueError, match="broken") as caught:
        await execution.async_get_result()
    assert caught.value is error
    assert "broken" in " ".join(error.__notes__)


async def test_s12_a_skipped_condition_is_neither_yes_nor_no() -> None:
    """S12 with `skip_exceptions`: a condition that raises is a failure: no case runs, and not the else."""
    flow = TriggerFlow(skip_exceptions=True)
    process = flow.to(echo).match().case(lambda data: 1 / 0).to(labelled("never"))
    process.case_else().to(labelled("else")).end_match().end()
    assert await flow.async_start() is None


async def test_s12_literals_are_compared_and_refusals_are_no_match() -> None:
    """S12 beside literals: `==` decides, and a value that refuses to be compared is not equal."""
    flow = TriggerFlow()
    process = flow.to(echo).match().case(1).to(labelled("one")).case("text").to(labelled("text"))
    process.case(None).to(labelled("none")).case_else().to(labelled("else")).end_match().end()
    values = [1, 1.0, "text", None, 0, Truth(True)]
    assert [await flow.async_start(value) for value in values] == ["one", "one", "text", "none", "else", "else"]
