"""match, case, if and else (S12): which cases run, and what goes on behind them."""

import asyncio
from typing import Any

import pytest

from tests.support import now, turns
from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError

Data = TriggerFlowRuntimeData[Any]


async def echo(data: Data) -> Any:
    return data.value


def labelled(label: str) -> Any:
    async def chunk(data: Data) -> str:
        return label

    return label, chunk


def choosing(mode: Any, cases: list[Any], *, otherwise: bool) -> TriggerFlow:
    """A flow whose cases are labelled 0, 1, 2 ..., and "else"."""
    flow = TriggerFlow()
    process = flow.match(mode=mode)
    for number, condition in enumerate(cases):
        process = process.case(condition).to(labelled(str(number)))
    if otherwise:
        process = process.case_else().to(labelled("else"))
    process.end_match().end()
    return flow


HITS: list[tuple[list[Any], list[str]]] = [
    ([1, 2], []),
    ([7, 2], ["0"]),
    ([1, 7], ["1"]),
    ([7, 7, 1, 7], ["0", "1", "3"]),
    ([lambda data: True, 7, lambda data: False], ["0", "1"]),
    ([lambda data: asyncio.sleep(1, True), lambda data: asyncio.sleep(1, 0), 7], ["0", "2"]),
]


@pytest.mark.parametrize("otherwise", [True, False])
@pytest.mark.parametrize(("cases", "hits"), HITS)
async def test_s12_hit_first(cases: list[Any], hits: list[str], otherwise: bool) -> None:
    """hit_first: the value of the first case that fits; of the else; or, with none, the value itself."""
    expected: Any = hits[0] if hits else "else" if otherwise else 7
    assert await choosing("hit_first", cases, otherwise=otherwise).async_start(7) == expected


@pytest.mark.parametrize("otherwise", [True, False])
@pytest.mark.parametrize(("cases", "hits"), HITS)
async def test_s12_hit_all(cases: list[Any], hits: list[str], otherwise: bool) -> None:
    """hit_all: the list of values in order of the cases, even for one hit; with none the else, or the value itself."""
    expected: Any = hits or ("else" if otherwise else 7)
    assert await choosing("hit_all", cases, otherwise=otherwise).async_start(7) == expected


@pytest.mark.parametrize("mode", ["hit_first", "hit_all"])
@pytest.mark.parametrize("answer", [True, 5, "yes", [0], object()])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_d26_truthy_answers_and_async_conditions_match(kind: str, answer: Any, mode: Any) -> None:
    """S12: "Conditions may be sync or async; truthiness decides". D26: there only the literal True was a match, and an
    async condition was never awaited."""

    async def ask(data: Data) -> Any:
        await asyncio.sleep(1)
        return answer

    flow = choosing(mode, [ask if kind == "async" else lambda data: answer], otherwise=True)
    assert await flow.async_start(1) == (["0"] if mode == "hit_all" else "0")


@pytest.mark.parametrize(("value", "hits"), [(1, ["0", "2"]), (2, ["1", "2"]), (3, ["2"])])
@pytest.mark.parametrize("mode", ["hit_first", "hit_all"])
async def test_d29_two_lambdas_on_one_line_are_two_conditions(mode: Any, value: int, hits: list[str]) -> None:
    """S12: "two lambdas on one line too". D29: there they were taken for the same one."""
    flow = choosing(mode, [lambda data: data.value == 1, lambda data: data.value == 2, lambda data: True], otherwise=True)  # fmt: skip  # noqa: E501
    assert await flow.async_start(value) == (hits if mode == "hit_all" else hits[0])


async def test_s12_hit_first_asks_no_further() -> None:
    """hit_first: conditions are asked in order, one after the other, and none after the hit."""
    asked = list[tuple[int, float]]()

    def condition(number: int, answer: bool) -> Any:
        async def ask(data: Data) -> bool:
            asked.append((number, now()))
            await asyncio.sleep(1)
            return answer

        return ask

    cases = [condition(0, False), condition(1, True), condition(2, True)]
    assert await choosing("hit_first", cases, otherwise=False).async_start() == "1"
    assert asked == [(0, 0), (1, 1)]


async def test_s12_hit_all_runs_the_cases_at_once() -> None:
    """hit_all: the cases that were hit run beside each other, and their values come in order of the cases."""
    flow = TriggerFlow()

    def slow(name: str, seconds: float) -> Any:
        return name, lambda data: asyncio.sleep(seconds, name)

    process = flow.match(mode="hit_all").case(1).to(slow("a", 3)).case(1).to(slow("b", 1)).case(1).to(slow("c", 2))
    process.end_match().end()
    assert await flow.async_start(1) == ["a", "b", "c"]
    assert now() < 4


@pytest.mark.parametrize("value", [1, 2, 3, 4])
async def test_s12_if_elif_else(value: int) -> None:
    """`if_condition`, `elif_condition`, `else_condition`, `end_condition`: the first that holds."""
    flow = TriggerFlow()
    process = flow.if_condition(lambda data: data.value == 1).to(labelled("one"))
    process = process.elif_condition(lambda data: data.value <= 2).to(labelled("two"))
    process = process.elif_condition(3).to(labelled("three"))
    process = process.else_condition().to(labelled("more")).end_condition()
    process.to(("after", lambda data: [data.value])).end()
    assert await flow.async_start(value) == [["one", "two", "three", "more"][value - 1]]


@pytest.mark.parametrize("value", [None, 0, "", [], False])
async def test_s12_falsy_values_go_on(value: Any) -> None:
    """S5 with S12: a value that is false passes through, is compared, and is a case's result."""
    flow = TriggerFlow()
    flow.match().case("never").to(labelled("never")).end_match().end()
    assert await flow.async_start(value) == value
    other = TriggerFlow()
    other.match().case(value).to(("same", echo)).case_else().to(labelled("else")).end_match().end()
    assert await other.async_start(value) == value


@pytest.mark.parametrize("mode", ["hit_first", "hit_all"])
@pytest.mark.parametrize("hit", [True, False])
async def test_s12_empty_cases(mode: Any, hit: bool) -> None:
    """A case without a chunk passes the value on."""
    flow = TriggerFlow()
    flow.match(mode=mode).case(1).case_else().end_match().to(("after", lambda data: [data.value])).end()
    value = 1 if hit else 2
    assert await flow.async_start(value) == [[value] if mode == "hit_all" and hit else value]


@pytest.mark.parametrize("mode", ["hit_first", "hit_all"])
async def test_s12_nested_matches(mode: Any) -> None:
    """A match inside a case, at any depth, in both modes."""
    flow, depth = TriggerFlow(), 5
    process: Any = flow
    for _ in range(depth):
        process = process.match(mode=mode).case(1).to((f"c{_}", echo))
    for _ in range(depth):
        process = process.case_else().to((f"e{_}", echo)).end_match()
    process.end()
    expected: Any = 1
    for _ in range(depth if mode == "hit_all" else 0):
        # Outside the innermost block the inner list is a case's value like any other.
        expected = [expected]
    assert await flow.async_start(1) == expected


async def test_s12_two_passes_at_once_do_not_mix() -> None:
    """Conditions that answer in another order than they were asked: each value finds its own case."""
    flow, seen = TriggerFlow(), list[Any]()

    async def even(data: Data) -> bool:
        await asyncio.sleep(10 - data.value)
        return data.value % 2 == 0

    def note(name: str) -> Any:
        async def chunk(data: Data) -> Any:
            return data.value, name

        return name, chunk

    async def collect(data: Data) -> None:
        seen.append(data.value)

    process = flow.when("go").match().case(even).to(note("even")).case_else().to(note("odd")).end_match()
    flow.signal("go", external=True)
    process.to(("collect", collect))
    execution = flow.create_execution()
    execution.begin()
    for value in range(10):
        await execution.async_emit("go", value)
    await execution.async_close()
    assert sorted(seen) == [(value, "odd" if value % 2 else "even") for value in range(10)]
    assert [value for value, _ in seen] == list(range(9, -1, -1))


async def test_s09_conditions_count_for_limits() -> None:
    """S9: a condition is user code that takes a place."""
    flow, inside, peak = TriggerFlow(), 0, 0

    async def ask(data: Data) -> bool:
        nonlocal inside, peak
        inside += 1
        peak = max(peak, inside)
        await asyncio.sleep(1)
        inside -= 1
        return True

    flow.for_each(concurrency=2).match().case(ask).to(echo).end_match().end_for_each().end()
    assert await flow.async_start(range(6)) == list(range(6))
    assert peak == 2


async def test_s12_a_condition_sees_the_state_as_it_is_when_asked() -> None:
    """S1, S12: conditions are asked one after the other; what has been set meanwhile is seen."""
    flow = TriggerFlow()

    async def first(data: Data) -> bool:
        await asyncio.sleep(5)
        return False

    async def setter(data: Data) -> None:
        await asyncio.sleep(1)
        data.state.set("ready", True)

    flow.to(setter)
    process = flow.match().case(first).to(labelled("first")).case(lambda data: data.state.get("ready"))
    process.to(labelled("ready")).end_match().end()
    assert await flow.async_start() == "ready"


async def test_s08_cancelled_while_a_condition_is_asked() -> None:
    """S8: a condition is cancelled like a chunk."""
    flow = TriggerFlow()
    flow.match().case(lambda data: asyncio.sleep(100)).to(echo).end_match()
    execution = flow.create_execution()
    execution.begin()
    await turns()
    await execution.async_cancel()
    assert now() == 0
    assert execution.get_status() == "cancelled"


@pytest.mark.parametrize(
    "build",
    [
        lambda flow: flow.match(mode="some"),
        lambda flow: flow.match().to(echo),
        lambda flow: flow.match().end_match(),
        lambda flow: flow.match().case(1).to(echo).end_for_each(),
        lambda flow: flow.to(echo).end_match(),
        lambda flow: flow.to(echo).case(1),
        lambda flow: flow.for_each().case(1),
        lambda flow: flow.for_each().to(echo).end_match(),
        lambda flow: flow.match().case_else().to(echo).case(1),
        lambda flow: flow.match().case_else().to(echo).case_else(),
        lambda flow: flow.match().case(lambda: True),
    ],
)
def test_misuse_is_an_error_of_the_definition(build: Any) -> None:
    """Blocks that do not fit are told while the flow is written."""
    with pytest.raises(DefinitionError):
        build(TriggerFlow())


@pytest.mark.parametrize("build", [lambda flow: flow.match().case(1).to(echo), lambda flow: flow.for_each().to(echo)])
async def test_a_block_that_is_never_closed_is_told_before_the_first_run(build: Any) -> None:
    """A flow with an open block does not start, and says which."""
    flow = TriggerFlow()
    build(flow)
    with pytest.raises(DefinitionError, match=r"never closed.*end_"):
        await flow.async_start()


def test_the_name_of_a_case_is_the_same_in_every_process() -> None:
    """A definition is data: nothing in it tells of addresses or of the order of hashes."""

    class Thing: ...

    def names() -> list[str]:
        flow = TriggerFlow()
        match = flow.match()
        for literal in (Thing(), [Thing()], {"b", "a", "c"}, "text", 1, None):
            match = match.case(literal)
        match.end_match()
        return [it.name for it in flow.definition.operators if it.kind == "match_case"]

    assert names() == names()
    assert names()[2:] == ["set('a', 'b', 'c')", "'text'", "1", "None"]
    assert not any("0x" in name for name in names())
