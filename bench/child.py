"""What reads the memory of its whole process and so needs a fresh one: `python -m bench.child TASK CONTESTANT`.

Prints one number: KB per execution held (`held`), the peak of memory
in a loop ten times longer as a multiple of that in the shorter one (`loop`).
"""

import asyncio
import gc
import importlib
import json
import sys
from types import ModuleType

from .measure import resident_kb

#: Enough that the allocator's arenas (1 MB) do not show in the figure per execution.
HELD = 5_000


async def held(contestant: ModuleType) -> float:
    """KB per execution, all of them in the middle of their third chunk."""
    opened, full, arrived = asyncio.Event(), asyncio.Event(), 0

    async def hold() -> None:
        nonlocal arrived
        arrived += 1
        if arrived == HELD:
            full.set()
        await opened.wait()

    one = contestant.w4(hold)
    opened.set()
    await asyncio.gather(*[one(index) for index in range(5)])
    opened.clear()
    arrived = 0
    gc.collect()
    before = resident_kb("VmRSS")
    tasks = [asyncio.ensure_future(one(index)) for index in range(HELD)]
    await full.wait()
    gc.collect()
    after = resident_kb("VmRSS")
    opened.set()
    assert sum(await asyncio.gather(*tasks)) == sum(range(5, HELD + 5))
    return (after - before) / HELD


async def loop(contestant: ModuleType) -> float:
    """The peak of memory in a loop of 100,000 turns as a multiple of that in one of 10,000."""
    await contestant.w8(10_000)()
    before = resident_kb("VmHWM")
    await contestant.w8(100_000)()
    return resident_kb("VmHWM") / before


def main() -> None:
    """Run one task for one contestant."""
    task, name = sys.argv[1:]
    contestant = importlib.import_module(f"bench.{name}")  # noqa: TID251 - a name from our own command line
    print(json.dumps(asyncio.run({"held": held, "loop": loop}[task](contestant))))


if __name__ == "__main__":
    main()
