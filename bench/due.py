"""`python -m bench.due`: how long one worker needs for 20,000 parked executions whose timers are due within one second.

    python -m bench.due                                       # 3,000 and 20,000, about two minutes
    python -m bench.due --against ../main/src --counts 3000   # the same with another source tree, by turns

The time is from the first due time to the end of the last execution. It has to grow with the number of executions, and
the memory must not: a worker holds only those that run. Each figure comes from a process of its own.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from triggerflow import TriggerFlow
from triggerflow.durable import Worker
from triggerflow.stores import SQLiteStore

#: How many executions a worker runs at once, and how many are begun before the worker has to have parked them.
AT_ONCE, BLOCK = 500, 500


def peak_kb() -> int:
    """The most memory that this process had since the last `reset_peak`, in KiB (Linux only)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


def reset_peak() -> None:
    """Count the peak of the memory from here on."""
    Path("/proc/self/clear_refs").write_text("5")


async def measure(path: str, count: int) -> dict[str, float]:
    """Park `count` executions, and run them when they are due."""
    flow, woken = TriggerFlow(name="due"), 0

    async def sleep(data: Any) -> None:
        await data.async_emit("woken", 1, delay=data.value - time.time())

    async def wake(data: Any) -> int:
        nonlocal woken
        woken += 1
        return data.value

    flow.to(("sleep", sleep))
    flow.when("woken").to(("wake", wake)).end()
    async with SQLiteStore(path, synchronous="NORMAL") as store, Worker(store, flow, at_once=AT_ONCE) as worker:
        begun = time.monotonic()
        due = time.time() + 10 + count / 250
        for first in range(0, count, BLOCK):
            numbers = range(first, min(first + BLOCK, count))
            executions = [flow.create_execution(store=store) for _ in numbers]
            starts = [it.async_begin(due + n / count) for it, n in zip(executions, numbers, strict=True)]
            await asyncio.gather(*starts)
            del executions, starts
            while worker.running:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        parked = time.monotonic() - begun
        if woken or time.time() >= due:
            raise SystemExit("this machine is too slow to park them before they are due")
        await asyncio.sleep(due - time.time())
        reset_peak()
        before, cpu, begun = peak_kb(), time.process_time(), time.monotonic()
        while woken < count or worker.running:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
        took = time.monotonic() - begun
        return {
            "parked": parked,
            "took": took,
            "cpu": time.process_time() - cpu,
            "before": before / 1024,
            "grown": (peak_kb() - before) / 1024,
        }


def in_a_process(source: str | None, count: int) -> dict[str, float]:
    """`measure` in a process of its own, with the engine of another source tree if one is given."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        paths = [*([source] if source else []), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, __file__, "--one", str(Path(directory) / "due.db"), "--counts", str(count)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=lambda text: [int(it) for it in text.split(",")], default=[3_000, 20_000])
    parser.add_argument("--against", metavar="SRC", help="the `src` folder of another version, measured by turns")
    parser.add_argument("--one", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asyncio.run(measure(options.one, options.counts[0]))))
        return
    for count in options.counts:
        for name, source in (("here", None), ("there", options.against)):
            if name == "here" or source:
                it = in_a_process(source, count)
                print(
                    f"{name:<6}{count:>7,} due in one second: {it['took']:>6.1f} s, {count / it['took']:>6,.0f} a "
                    f"second, CPU {1e3 * it['cpu'] / count:.2f} ms each; "
                    f"memory {it['before']:.0f} MB {it['grown']:+.0f} MB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
