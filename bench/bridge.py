"""What the Agently bridge costs: the same work on the engine and through the bridge, per step.

    python -m bench.bridge            # under half a minute; needs the bridge installed (`make test` does)

Both run every default: journal, limits, runtime stream. `extra` is what the bridge adds, in per cent of the engine's.
"""

from typing import Any

import agently

import triggerflow
from bench.measure import interleaved, process_time


async def _increment(data: Any) -> Any:
    return data.value + 1


def chain(library: Any, n: int) -> Any:
    """A chain of n chunks."""
    flow = library.TriggerFlow()
    process: Any = flow
    for index in range(n):
        process = process.to((f"c{index}", _increment))
    process.end()

    async def run() -> Any:
        return await flow.async_start(0)

    return run


def held(library: Any, n: int) -> Any:
    """The same through an execution that somebody holds."""
    flow = library.TriggerFlow()
    process: Any = flow
    for index in range(n):
        process = process.to((f"c{index}", _increment))
    process.end()

    async def run() -> Any:
        return await flow.create_execution().async_start(0)

    return run


def batch(library: Any, n: int) -> Any:
    """A batch of n branches."""
    flow = library.TriggerFlow()

    async def total(data: Any) -> int:
        return sum(data.value.values())

    flow.batch(*[(f"b{index}", _increment) for index in range(n)]).to(total).end()

    async def run() -> Any:
        return await flow.async_start(0)

    return run


def for_each(library: Any, n: int) -> Any:
    """Two chunks for each of n items, 50 at once."""
    flow = library.TriggerFlow()

    async def total(data: Any) -> int:
        return len(data.value)

    flow.for_each(concurrency=50).to(_increment).to(_increment).end_for_each().to(total).end()
    items = list(range(n))

    async def run() -> Any:
        return await flow.async_start(items)

    return run


def loop(library: Any, n: int) -> Any:
    """A loop of n turns, each a signal that starts the chunk again."""
    flow = library.TriggerFlow()

    async def step(data: Any) -> None:
        await data.async_emit("Loop" if data.value + 1 < n else "Done", data.value + 1)

    async def done(data: Any) -> Any:
        return data.value

    chunk = flow.chunk("step")(step)
    flow.to(chunk)
    flow.when("Loop").to(chunk)
    flow.when("Done").to(done).end()

    async def run() -> Any:
        return await flow.async_start(0)

    return run


def stream(library: Any, n: int) -> Any:
    """So many items through the runtime stream."""
    flow = library.TriggerFlow()

    async def source(data: Any) -> None:
        for index in range(n):
            await data.async_put_into_stream(index)

    flow.to(source).end()

    async def run() -> int:
        return len([item async for item in flow.get_async_runtime_stream(None)])

    return run


#: name, work, steps in one run, runs a repetition
ROWS: list[tuple[str, Any, int, int]] = [
    ("chain of 100, per step", chain, 100, 50),
    ("chain of 100, held, per step", held, 100, 50),
    ("batch of 100, per branch", batch, 100, 30),
    ("for_each of 1,000, two chunks an item, per item", for_each, 1000, 3),
    ("loop of 1,000, per turn", loop, 1000, 5),
    ("5-step executions, per step", chain, 5, 500),
    ("stream of 1,000 items, per item", stream, 1000, 5),
]


def main() -> None:
    """Print the table."""
    print(f"{'work':50} {'engine':>9} {'bridge':>9} {'extra':>7}")
    for name, work, steps, times in ROWS:
        runs = {"engine": work(triggerflow, steps), "bridge": work(agently, steps)}
        seconds = interleaved(runs, steps, clock=process_time, repetitions=9, times=times)
        engine, bridge = (seconds[side] / steps * 1e6 for side in ("engine", "bridge"))
        print(f"{name:50} {engine:6.2f} us {bridge:6.2f} us {(bridge / engine - 1) * 100:5.0f} %")


if __name__ == "__main__":
    main()
