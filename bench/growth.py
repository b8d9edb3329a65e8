"""Whether cost per item stays the same when there are more of them: from 1,000 to 16,000 items in one execution.

    python -m bench.growth                            # about two minutes
    python -m bench.growth --cases append,timers      # some cases
    python -m bench.growth --sizes 1000,4000

CPU microseconds per item, each the least of three runs, and the last size's as a multiple of the first one's: near 1
where cost per item is constant, near 16 where it grows with the number of items. A case stops early where one run takes
longer than `--patience` seconds.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from triggerflow import TriggerFlow

Run = Callable[[], Awaitable[None]]

SIZES = (1_000, 2_000, 4_000, 8_000, 16_000)
REPETITIONS = 3
#: For the cases that run under a limit: far fewer than the items.
LIMIT = 8


async def _echo(data: Any) -> Any:
    return data.value


def settle(n: int) -> Run:
    """N chunks under a limit, each of which waits until what it emitted has settled."""
    flow = TriggerFlow()
    settled = 0

    async def emitter(data: Any) -> None:
        nonlocal settled
        await data.async_emit("leaf", data.value, settle=True)
        settled += 1

    flow.for_each(concurrency=n).to(emitter).end_for_each().end()
    flow.when("leaf").to(_echo)

    async def run() -> None:
        nonlocal settled
        settled = 0
        await flow.create_execution(concurrency=LIMIT).async_start(range(n))
        assert settled == n

    return run


def half_filled(n: int) -> Run:
    """N items, for each of which a `when` over two chunks has one of the two."""
    flow = TriggerFlow()
    never = flow.chunk("never")(_echo)
    seen = flow.chunk("seen")(_echo)
    flow.for_each().to(seen).match().case(-1).to(never).end_match().end_for_each().end()
    flow.when([seen, never]).to(_echo)

    async def run() -> None:
        assert len(await flow.async_start(range(n))) == n

    return run


def cancel(n: int) -> Run:
    """Cancel an execution that has n chunks ready to run."""
    flow = TriggerFlow()

    async def source(data: Any) -> None:
        for index in range(n):
            data.emit("work", index)
        await asyncio.Event().wait()

    flow.to(source)
    flow.when("work").to(_echo)

    async def run() -> None:
        execution = flow.create_execution()
        execution.begin(None)
        await asyncio.sleep(0)
        await execution.async_cancel()
        assert execution.get_status() == "cancelled"

    return run


def append(n: int) -> Run:
    """Append n times to one list of the state."""
    flow = TriggerFlow()

    async def chunk(data: Any) -> int:
        for index in range(n):
            data.state.append("log", index)
        return len(data.state.get("log"))

    flow.to(chunk).end()

    async def run() -> None:
        assert await flow.async_start() == n

    return run


def guests(n: int) -> Run:
    """N sub-flows at once that share the limit of their parent."""
    child, flow = TriggerFlow(name="child"), TriggerFlow()
    child.to(_echo).to(("second", _echo)).end()
    flow.for_each(concurrency=n).to_sub_flow(child).end_for_each().end()

    async def run() -> None:
        assert len(await flow.create_execution(concurrency=LIMIT).async_start(range(n))) == n

    return run


def timers(n: int) -> Run:
    """N timers that are open at once and all come due."""
    flow = TriggerFlow()
    fired = 0

    async def source(data: Any) -> None:
        for index in range(n):
            data.emit("late", index, delay=0.05 + (index % 100) / 10_000)

    async def late(data: Any) -> None:
        nonlocal fired
        fired += 1

    flow.to(source)
    flow.when("late").to(late)

    async def run() -> None:
        nonlocal fired
        fired = 0
        await flow.async_start()
        assert fired == n

    return run


def interrupts(n: int) -> Run:
    """N questions that are open at once, answered one by one."""
    flow = TriggerFlow()

    async def ask(data: Any) -> None:
        data.pause_for(interrupt_id=f"question-{data.value}")

    flow.for_each(concurrency=n).to(ask).to(_echo).end_for_each().end()

    async def run() -> None:
        execution = flow.create_execution()
        execution.begin(range(n))
        while len(execution.get_pending_interrupts()) < n:  # noqa: ASYNC110 - no event for the last one
            await asyncio.sleep(0.02)
        for index in range(n):
            await execution.async_continue_with(f"question-{index}", index)
        assert await execution.async_get_result() == list(range(n))

    return run


CASES: dict[str, tuple[str, Callable[[int], Run]]] = {
    "settle": (f"emitters that wait for their signal, limit {LIMIT}", settle),
    "half_filled": ("a when per item that stays half filled", half_filled),
    "cancel": ("cancel with so many ready", cancel),
    "append": ("state.append", append),
    "guests": (f"sub-flows at once, limit {LIMIT}", guests),
    "timers": ("timers open at once", timers),
    "interrupts": ("interrupts open at once, answered", interrupts),
}


def microseconds(make: Callable[[int], Run], n: int, patience: float) -> float:
    """CPU microseconds per item: the least of some runs, which other load on the machine has disturbed the least."""
    run, found = make(n), list[float]()
    for _ in range(REPETITIONS):
        gc.collect()
        begun = time.process_time()
        asyncio.run(_whole(run))
        found.append(time.process_time() - begun)
        if found[-1] > patience:
            break
    return min(found) / n * 1e6


async def _whole(run: Run) -> None:
    await run()


def chosen(text: str) -> list[str]:
    """The cases that `--cases` names."""
    names = text.split(",")
    if unknown := [name for name in names if name not in CASES]:
        raise argparse.ArgumentTypeError(f"no case {', '.join(unknown)}; there are: {', '.join(CASES)}")
    return names


def numbers(text: str) -> list[int]:
    """Sizes in ascending order."""
    with suppress(ValueError):
        found = sorted(int(part) for part in text.split(","))
        if found and found[0] > 0:
            return found
    raise argparse.ArgumentTypeError(f"{text!r} is no list of sizes such as 1000,16000")


def main() -> None:
    """Measure and print, a line a case."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description="Cost per item against their number.")
    parser.add_argument("--cases", type=chosen, default=list(CASES), help="some cases only, by name: append,timers")
    parser.add_argument("--sizes", type=numbers, default=list(SIZES), help="how many items: 1000,4000")
    parser.add_argument("--patience", type=float, default=20, help="seconds that a run may take before its case stops")
    options = parser.parse_args()
    sizes = options.sizes
    title = f"{sizes[-1]:,} : {sizes[0]:,}"
    print(f"{'CPU us per item':<46}" + "".join(f"{size:>10,}" for size in sizes) + f"{title:>18}")
    for name in options.cases:
        text, make = CASES[name]
        print(f"{text:<46}", end="", flush=True)
        found: list[float] = []
        for size in sizes:
            found.append(microseconds(make, size, options.patience))
            print(f"{found[-1]:>10.1f}", end="", flush=True)
            if found[-1] * size / 1e6 > options.patience:
                break
        whole = len(found) == len(sizes)
        print(f"{found[-1] / found[0]:>18.2f}" if whole else f"   stopped: a run took over {options.patience:g} s")


if __name__ == "__main__":
    main()
