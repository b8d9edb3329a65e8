"""`python -m bench.build`: what a large flow costs to build, and whether its steps cost more than a small one's."""

import asyncio
from collections.abc import Callable
from time import process_time
from typing import Any

from triggerflow import TriggerFlow

ROUNDS = 5
RUNS = 2000


async def step(data: Any) -> int:
    """Next to nothing."""
    return data.value + 1


def build(n: int, chain: int | None = None) -> TriggerFlow:
    """A compiled flow of n chunks with names: a chain of the first `chain` (default: all), the rest behind signals."""
    flow = TriggerFlow(name=f"{n} chunks")
    at: Any = flow
    for number in range(n):
        at = (at if number < (n if chain is None else chain) else flow.when(f"signal {number}")).to((f"{number}", step))
    assert len(flow.definition.operators) >= n
    return flow


def mixed(n: int) -> TriggerFlow:
    """A compiled flow of n operators of most kinds."""
    flow = TriggerFlow(name=f"{n} mixed")
    for number in range(n // 13):
        at = flow.when([f"a{number}", f"b{number}"]).to((f"first {number}", step))
        at = at.for_each(concurrency=4).to((f"each {number}", step)).end_for_each()
        at = at.match().case(1).to((f"one {number}", step)).case_else().end_match()
        at.batch((f"left {number}", step), (f"right {number}", step)).end()
    assert len(flow.definition.operators) >= n // 13 * 13
    return flow


def anonymous(n: int) -> TriggerFlow:
    """A compiled flow of n uses of one function without a name of their own."""
    flow = TriggerFlow(name=f"{n} anonymous")
    for _ in range(n):
        flow.to(step)
    assert len(flow.definition.operators) == n
    return flow


def cost_of_building(make: Callable[[int], TriggerFlow], n: int) -> float:
    """CPU milliseconds, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = process_time()
        make(n)
        best = min(best, process_time() - begun)
    return best * 1e3


async def cost_of_a_step(flow: TriggerFlow, length: int, runs: int) -> float:
    """CPU microseconds for one step of an execution with so many steps, its creation included; the best of rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = process_time()
        for _ in range(runs):
            await flow.async_start(0)
        best = min(best, (process_time() - begun) / (runs * length))
    return best * 1e6


def main() -> None:
    """Print both."""
    for make in (build, mixed, anonymous):
        costs = ", ".join(f"{n}: {cost_of_building(make, n):.1f} ms" for n in (10, 200, 2000))
        print(f"build, {make.__name__}: {costs}")
    for n, chain, runs in ((10, 10, RUNS), (2000, 10, RUNS), (2000, 2000, RUNS // 200)):
        cost = asyncio.run(cost_of_a_step(build(n, chain), chain, runs))
        print(f"chain of {chain} in a flow of {n}: {cost:.2f} us a step")


if __name__ == "__main__":
    main()
